"""One replay from its beginning to its end: tables made, filled, compared, swapped in or dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from deploy.replay import stored
from deploy.replay.hashes import Digest, differences, digest
from deploy.replay.request import FOREVER, Request
from deploy.replay.rollups import STEPS, Rollups
from deploy.replay.shadow import Shadow
from deploy.replay.swap import Swap, finish_swaps
from deploy.settings import Settings
from schemas.clock import Clock
from schemas.errors import Permanent
from sinks.warehouse import Warehouse
from stream_processors.sql import Roles

if TYPE_CHECKING:
    from deploy.replay.models import ModelReplay

Tell = Callable[[str, int, int], None]
"""Hears progress: (what is done, done, total)."""

SHOWN: Final = 3


@dataclass(frozen=True)
class World:
    """What a replay runs in: settings, the packs' roles as this program reads them, and the time."""

    settings: Settings
    roles: Mapping[str, Roles]
    clock: Clock
    tell: Tell


def replay(world: World, request: Request) -> dict[str, Any]:
    """Run it; the summary. Raises `ConfigError`, `Retryable` or `Permanent`; its tables are dropped then."""
    live = Warehouse(world.settings.warehouse)
    try:
        finished = finish_swaps(live)
        if request.dry_run:
            summary = {**_head(request), "events": stored.count(live, request.span), "dry_run": True}
        else:
            summary = _run(world, request, live)
        return {**summary, "finished": finished} if finished else summary
    finally:
        live.close()


def _run(world: World, request: Request, live: Warehouse) -> dict[str, Any]:
    shadow = Shadow(world.settings.warehouse, live, request.name)
    began = world.clock.monotonic()
    shadow.create()
    keep = False
    try:
        since = _now(live)
        held = stored.count(live, request.span) if request.swap and request.source == "kafka" else 0
        events = _fill(world, request, shadow)
        if events < held:
            raise Permanent(
                f"Kafka holds {events:,} events of what is asked for, {held:,} are stored: a swap would lose what the"
                " others say. Replay with --source events, or with --from where Kafka still has everything"
            )
        models = _run_models(world, request, shadow, since) if "models" in request.what else None
        if "anomalies" in request.what:
            _judge(world, request, shadow, since)
        seconds = max(1e-3, world.clock.monotonic() - began)
        summary = {
            **_head(request),
            "database": shadow.database,
            "events": events,
            "seconds": round(seconds, 3),
            "events_per_second": round(events / seconds),
            **_compare(world, request, shadow),
        }
        keep = request.keep
        if request.swap:
            swap = Swap(shadow, request, since)
            swap.prepare()
            keep = True  # from here on the old tables may lie there
            swap.commit()
            if models is not None:
                models.save_snapshots(world.settings.data_dir / "snapshots" / "churn")
            summary["swapped"] = list(request.tables)
        return {**summary, "kept": keep}
    finally:
        if not keep:
            shadow.drop()
        shadow.close()


def _fill(world: World, request: Request, shadow: Shadow) -> int:
    """Write the replay's tables; how many events there were."""
    from deploy.replay.from_kafka import KafkaReplay

    if request.source == "kafka":
        kafka = KafkaReplay(world.settings, shadow.warehouse, world.roles, world.clock)
        kafka.run(request.span, lambda done, total: world.tell("records", done, total))
        return stored.count(shadow.warehouse, request.span)
    shadow.link(("events",))
    events = stored.count(shadow.warehouse, request.span)
    if any(part in STEPS for part in request.what):
        _roll_up(world, request, shadow, events)
    return events


def _roll_up(world: World, request: Request, shadow: Shadow, events: int) -> None:
    settings, span, done = world.settings.worker, request.span, 0
    rollups = Rollups(shadow.warehouse, world.roles, settings, span, request.what)
    for one in stored.slices(shadow.warehouse, span):
        for chunk in stored.chunks(shadow.warehouse, span, one, settings.partitions):
            rollups.take(chunk, one.last)
            done += len(chunk.events)
            world.tell("events", done, events)
    rollups.finish()


def _run_models(world: World, request: Request, shadow: Shadow, now: float) -> ModelReplay:
    from deploy.replay.models import ModelReplay

    models = ModelReplay(shadow.live, shadow.warehouse, world.roles)
    models.run(request.span, now, lambda done, total: world.tell("tenants' models", done, total))
    return models


def _judge(world: World, request: Request, shadow: Shadow, now: float) -> None:
    from deploy.replay.anomalies import AnomalyReplay

    anomalies = AnomalyReplay(shadow.live, shadow.warehouse, world.roles)
    anomalies.run(request.span, now, lambda done, total: world.tell("buckets", done, total))


def _compare(world: World, request: Request, shadow: Shadow) -> dict[str, Any]:
    """Hashes of what was made, and of the live tables beside them."""
    tables: dict[str, dict[str, Any]] = {}
    live = shadow.live
    for table in request.tables:
        made = digest(live, shadow.database, table, request.span)
        tables[table] = {"rows": made.rows, "hash": made.hash}
        if request.compare:
            among = shadow.database if table == "user_state" and not request.span.is_whole else ""
            was = digest(live, live.database, table, request.span, among)
            tables[table] |= _verdict(made, was)
            if made != was:
                _tell_differences(world, request, shadow, table)
    if not request.compare:
        return {"tables": tables}
    return {"tables": tables, "same": all(one["same"] for one in tables.values())}


def _verdict(made: Digest, was: Digest) -> dict[str, Any]:
    return {"live_rows": was.rows, "live_hash": was.hash, "same": made == was}


def _tell_differences(world: World, request: Request, shadow: Shadow, table: str) -> None:
    both = (("replayed", shadow.database, shadow.live.database), ("live", shadow.live.database, shadow.database))
    for name, one, other in both:
        for line in differences(shadow.live, table, one, other, request.span, SHOWN):
            world.tell(f"{table}: only {name}: {line}", 0, 0)


def _head(request: Request) -> dict[str, Any]:
    span = request.span
    return {
        "from": None if span.start <= 0 else _iso(span.start),
        "to": None if span.end >= FOREVER else _iso(span.end),
        "source": request.source,
        "what": list(request.what),
    }


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _now(warehouse: Warehouse) -> float:
    """The warehouse's clock, Unix seconds."""
    rows = warehouse.query("SELECT toFloat64(now64(3, 'UTC')) AS now")
    if not rows:
        raise Permanent("the warehouse does not say what time it is")
    return float(rows[0]["now"])
