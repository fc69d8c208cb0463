"""The live stream: one poller for each tenant that somebody watches, whose findings go to all its subscribers.

A look asks which event types are new since the last one (an index answers), and marks the metrics that count those as
stale; all of them every half minute, because windows slide. It then reads stale metrics, longest stale first, until it
has used the share `duty` of its time; the others wait for the next look. What did not change is not sent. A subscriber
that cannot keep up is cut off: its browser comes back and gets the newest of everything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import orjson

from api.context import Caller, Context
from api.lists import alert_rows, anomaly_rows
from api.measures import MEASURES
from api.metrics import known_to
from api.pipeline import live_pipeline
from api.problems import RETRY_AFTER, Problem
from api.slices import Binder, Slice
from schemas.errors import Permanent, Retryable
from schemas.metrics import Metric
from schemas.taxonomy.pack import Pack

_log = logging.getLogger(__name__)
_REFRESH_SECONDS: Final = 30.0
_OVERLAP_MS: Final = 2_000
"""Rows may become visible a little after their `inserted_at`."""
_ANOMALIES: Final = 20
_ALERTS: Final = 100
_WEEK: Final = 7 * 86_400_000
_MOVING: Final = ("start", "end", "as_of", "age_seconds", "expected", "closed_until")
"""Members that change with the clock alone; they do not make an object new."""
_LONGEST_REST: Final = 10.0
"""A look that took long, because the warehouse is busy, is followed by as long a rest, up to this many seconds."""

try:
    VERSION = version("headrace")
except PackageNotFoundError:
    VERSION = "unknown"


@dataclass(eq=False)
class Subscriber:
    """One open stream; None in the queue ends it."""

    queue: asyncio.Queue[bytes | None]


@dataclass
class Channel:
    """What the subscribers of one tenant share: the newest message of every object, by name."""

    tenant: str
    pack: Pack
    subscribers: set[Subscriber] = field(default_factory=set)
    latest: dict[str, bytes] = field(default_factory=dict)
    known: dict[str, bytes] = field(default_factory=dict)
    poller: asyncio.Task[None] | None = None
    seen_ms: int = 0
    refreshed: float | None = None
    stale: dict[str, Metric] = field(default_factory=dict)

    def offer(self, name: str, event: str, value: Any) -> None:
        """Send an object to everybody, unless it is what was sent last."""
        stable = value if not isinstance(value, dict) else {k: v for k, v in value.items() if k not in _MOVING}
        body = orjson.dumps(stable)
        if self.known.get(name) == body:
            return
        self.known[name] = body
        self.latest[name] = message(event, value)
        for one in list(self.subscribers):
            self._send(one, self.latest[name])

    def end(self) -> None:
        """End all streams."""
        for one in list(self.subscribers):
            self._cut(one)

    def _send(self, one: Subscriber, body: bytes) -> None:
        try:
            one.queue.put_nowait(body)
        except asyncio.QueueFull:
            self._cut(one)

    def _cut(self, one: Subscriber) -> None:
        self.subscribers.discard(one)
        while one.queue.full():
            one.queue.get_nowait()
        one.queue.put_nowait(None)


class Hub:
    """All live streams of this process."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._channels: dict[tuple[str, str], Channel] = {}
        self._closed = False

    @property
    def subscribers(self) -> int:
        """Streams that are open now."""
        return sum(len(channel.subscribers) for channel in self._channels.values())

    def subscribe(self, who: Caller) -> AsyncIterator[bytes]:
        """The stream of a caller; raises a 503 problem when all places are taken or the process is stopping."""
        live = self._ctx.settings.live
        if self._closed or self.subscribers >= live.max_subscribers:
            detail = f"all {live.max_subscribers} live streams are taken; close one, or ask the metrics directly"
            raise Problem(503, "too-many-streams", detail, headers=RETRY_AFTER)
        channel = self._channels.setdefault((who.tenant, who.pack.name), Channel(who.tenant, who.pack))
        one = Subscriber(asyncio.Queue(live.buffer + len(channel.latest) + 1))
        one.queue.put_nowait(message("hello", self._hello(channel)))
        for body in channel.latest.values():
            one.queue.put_nowait(body)
        channel.subscribers.add(one)
        if channel.poller is None:
            channel.poller = asyncio.create_task(self._poll(channel))
        return self._stream(channel, one)

    async def close(self) -> None:
        """End every stream and poller; nothing can be subscribed afterwards."""
        self._closed = True
        for channel in list(self._channels.values()):
            channel.end()
            if channel.poller is not None:
                channel.poller.cancel()
                with suppress(asyncio.CancelledError):
                    await channel.poller
        self._channels.clear()

    async def _stream(self, channel: Channel, one: Subscriber) -> AsyncIterator[bytes]:
        try:
            while True:
                try:
                    body = await asyncio.wait_for(one.queue.get(), self._ctx.settings.live.heartbeat_seconds)
                except TimeoutError:
                    body = b": heartbeat\n\n"
                if body is None:
                    return
                yield body
        finally:
            channel.subscribers.discard(one)

    async def _poll(self, channel: Channel) -> None:
        clock, live = self._ctx.clock, self._ctx.settings.live
        try:
            while channel.subscribers:
                began = clock.monotonic()
                await self._look_safely(channel)
                cost = max(0.0, clock.monotonic() - began)
                await asyncio.sleep(max(live.interval_seconds - cost, min(cost, _LONGEST_REST)))
        finally:
            channel.poller = None
            if not channel.subscribers:
                self._channels.pop((channel.tenant, channel.pack.name), None)

    async def _look_safely(self, channel: Channel) -> None:
        try:
            await self._look(channel)
            channel.offer("status", "status", {"status": "ok", "detail": ""})
        except (Retryable, Permanent) as error:
            channel.offer("status", "status", {"status": "degraded", "detail": str(error)})
        except Exception:
            _log.exception("the live poller of %s met an unexpected error", channel.tenant)
            channel.offer("status", "status", {"status": "degraded", "detail": "unexpected error; see the log"})

    async def _look(self, channel: Channel) -> None:
        ctx, clock = self._ctx, self._ctx.clock
        deadline = clock.monotonic() + ctx.settings.live.interval_seconds * ctx.settings.live.duty
        types = await self._news(channel)
        await self._small_objects(channel)
        self._mark_stale(channel, types)
        while channel.stale:
            metric = next(iter(channel.stale.values()))
            name = f"metric:{metric.id}"
            if name in channel.latest and clock.monotonic() >= deadline:
                return
            channel.offer(name, "metric", await self._answer(metric, channel))
            del channel.stale[metric.id]

    async def _small_objects(self, channel: Channel) -> None:
        reader, tenant, now = self._ctx.reader, channel.tenant, self._ctx.now_ms()
        pipeline, (alerts, _), (anomalies, _) = await asyncio.gather(
            live_pipeline(self._ctx.ledger, tenant, now, channel.seen_ms or None),
            alert_rows(reader, tenant, states=("open", "acknowledged"), limit=_ALERTS),
            anomaly_rows(reader, tenant, now - _WEEK, now + 60_000, {}, (), limit=_ANOMALIES),
        )
        channel.offer("pipeline", "pipeline", pipeline)
        channel.offer("alerts", "alerts", {"alerts": alerts})
        channel.offer("anomalies", "anomalies", {"anomalies": anomalies})

    def _mark_stale(self, channel: Channel, types: set[str]) -> None:
        now = self._ctx.clock.monotonic()
        every = channel.refreshed is None or now - channel.refreshed >= _REFRESH_SECONDS
        if every:
            channel.refreshed = now
        for metric in self._metrics(channel.pack):
            if every or types & counted_types(metric, channel.pack) or (types and counts_everything(metric)):
                channel.stale.setdefault(metric.id, metric)

    async def _news(self, channel: Channel) -> set[str]:
        """The types of the events inserted since the last look; remembers when the newest was."""
        bind = Binder()
        sql = (
            "SELECT toUnixTimestamp64Milli(max(inserted_at)), groupUniqArray(event_type), count() FROM events "
            f"WHERE tenant = {bind(channel.tenant)} AND inserted_at > {bind.time(channel.seen_ms - _OVERLAP_MS)}"
        )
        newest, types, n = (await self._ctx.reader.rows(sql, bind.params))[0]
        if not n or int(newest) <= channel.seen_ms:
            return set()
        channel.seen_ms = int(newest)
        return set(types)

    async def _answer(self, metric: Metric, channel: Channel) -> dict[str, Any]:
        now = self._ctx.now_ms()
        asked = Slice(channel.tenant, now - metric.window_seconds * 1000, now, {}, known_ms=now)
        answer = await self._ctx.metrics.answer(metric, asked, channel.pack, known_as_of=channel.seen_ms or None)
        return {name: value for name, value in answer.items() if name not in ("groups", "series")}

    def _metrics(self, pack: Pack) -> list[Metric]:
        return [metric for metric in self._ctx.dictionary.metrics if metric.live and known_to(metric, pack)]

    def _hello(self, channel: Channel) -> dict[str, Any]:
        return {
            "version": VERSION,
            "tenant": channel.tenant,
            "interval_seconds": self._ctx.settings.live.interval_seconds,
            "metrics": [metric.id for metric in self._metrics(channel.pack)],
        }


def counted_types(metric: Metric, pack: Pack) -> set[str]:
    """The event types that can change a metric."""
    names: Sequence[str | None] = (metric.measures.numerator, metric.measures.denominator)
    roles = {role for name in names if name for role in MEASURES[name].roles}
    return {ref.event_type for role in roles for ref in pack.roles.get(role, ())}


def counts_everything(metric: Metric) -> bool:
    """Whether any event can change a metric."""
    return not MEASURES[metric.measures.numerator].roles


def message(event: str, value: Any) -> bytes:
    """One server-sent event. JSON never holds a raw line break, so one `data:` line is enough."""
    return b"event: " + event.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"
