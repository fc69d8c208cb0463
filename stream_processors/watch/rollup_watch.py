"""Daily rollups: every few seconds the days that something touched are counted again, and what moved is written down.

Reads: `events`, `conflicts`. Writes: `TABLES`, `corrections`. What is counted
is the business of the metrics (`api/rollups`), whose statements come in through a port. Guarantee: a day is only ever
counted whole, from the events, and readers use it only once the coverage says that it is done; so a round that broke
off, or came twice, changes nothing. A day is done up to a moment that lies `SETTLE_SECONDS` back, since an insert has
its time before it can be seen; what came later is for the reader to look for. On failure: a passing fault puts the
round off, and readers count the touched days from the events; a process that ends between counting a day and saying
what moved leaves that unsaid. One watcher at a time gives numbers to users; should two have done so, the next round
finds a number twice and begins anew.
"""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import accumulate
from typing import Final, NamedTuple

import orjson

from schemas.clock import Clock
from schemas.errors import Permanent, Retryable
from schemas.taxonomy.pack import Pack
from stream_processors.checkpoints import last_rebuild, last_swap
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import WarehousePort
from stream_processors.routes import Background
from stream_processors.settings import WatcherSettings
from stream_processors.watch.rollup_port import RollupPort
from stream_processors.watch.tenants import ROUND_DELAY_SECONDS, Tenants, is_being_filled

log = logging.getLogger("headrace.rollups")

DAY: Final = 86_400
SETTLE_SECONDS: Final = 60.0
"""How long an insert may take between its time and its end."""

BATCH_EVENTS: Final = 5_000_000
"""Days are counted together up to so many events."""

REST: Final = 20.0
LONGEST_REST: Final = 600.0
"""A day that was counted rests so many times what it took, at most so many seconds; readers count it meanwhile."""

GAPS: Final = 400
"""Of so many days before the present also those without events are counted, so that what comes late to them is told."""
FIRST_DAY: Final = -25_567
"""1900-01-01, where times begin."""
DIRTY: Final = ("dirty", "dirty_orders", "dirty_customers", "dirty_lives", "dirty_next_days")
"""The columns of `rollup_coverage`, by reach."""
DIRTY_WAYS: Final = "dirty_ways"
ORDERS: Final = 1
"""The reach by which steps of funnels are dirty: an order is one at its first event."""
WAY_DAYS: Final = 30
"""Entries of so many days are walked through together, at most."""
WAYS: Final = -(1 << 31)
"""In place of a day: when ways rest."""

TABLES: Final = (
    "rollup_coverage",
    "daily_rollups",
    "daily_signups",
    "daily_orders",
    "daily_steps",
    "daily_ways",
    "user_numbers",
)
"""What rollups are kept in."""
Dirty = tuple[frozenset[int], ...]
"""Days by how far what touched them reaches: the day, days of the same orders, the same customers, the same lives, and
the day after it."""
NONE: Final[Dirty] = (frozenset(),) * len(DIRTY)
Place = tuple[int, str, str, str]
"""Day, family, dimension and value."""


class Counts(NamedTuple):
    """What a rollup says: events, millionths, distinct users."""

    events: int
    micros: int
    users: int


@dataclass(frozen=True)
class Coverage:
    """A row of `rollup_coverage`: times in Unix seconds, days as numbers since 1970; `dirty` by reach.

    `ways`: days with dirty orders or steps, until also the ways that touch them are counted.
    """

    definition: str
    until: float
    before: int
    dirty: Dirty
    ways: frozenset[int] = frozenset()

    def with_dirty(self, more: Dirty) -> Coverage:
        """With further dirty days; what is dirty for one reach is so for every longer one."""
        both = (one | other for one, other in zip(self.dirty, more, strict=True))
        dirty = tuple(accumulate(both, operator.or_))
        return replace(self, dirty=dirty, ways=self.ways | dirty[ORDERS])


class RollupWatch:
    """All tenants' rollups."""

    def __init__(
        self,
        settings: WatcherSettings,
        packs: Mapping[str, Pack],
        statements: RollupPort,
        warehouse: WarehousePort,
        clock: Clock,
        metrics: WorkerMetrics,
        *,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings, self._packs, self._sql = settings, packs, statements
        self._warehouse, self._clock, self._metrics, self._stopping = warehouse, clock, metrics, stopping
        self._tenants = Tenants(warehouse)
        self._rests: dict[tuple[str, int], float] = {}
        self._revision = 0

    def background(self) -> tuple[Background, ...]:
        """The rounds; none where they are off."""
        if not self._settings.rollups:
            return ()
        return (Background("rollups", self._settings.rollup_seconds, self.look),)

    def look(self) -> None:
        """One round for every tenant; a passing fault is logged and left for the next."""
        try:
            for tenant, pack in self._tenants.look():
                if pack in self._packs:
                    self.round(tenant, self._packs[pack])
        except Retryable as error:
            self._metrics.retried("rollups")
            log.warning("the rollups are put off: %s", error)
        except Permanent as error:
            self._metrics.retried("rollups_refused")
            log.error("the rollups failed: %s", error)

    def round(self, tenant: str, pack: Pack) -> frozenset[int]:
        """Count what was touched, and say how far it goes; the days that are still to be counted.

        Raises `Retryable` or `Permanent`.
        """
        now = self._now()
        before, until = int((now - ROUND_DELAY_SECONDS) // DAY), min(now - SETTLE_SECONDS, self._unsettled(tenant))
        epoch = f"{last_swap(self._warehouse)}.{last_rebuild(self._warehouse, tenant)}"
        definition = f"{self._sql.definition(pack)}@{epoch}"
        known = self._known(tenant)
        fresh = known is None or known.definition != definition
        if known is None or fresh:
            some = frozenset(self._sizes(tenant, FIRST_DAY, before))
            if not some:
                return some
            days = some | frozenset(range(max(min(some), before - GAPS), before))
            known = Coverage(definition, until, before, NONE).with_dirty((days,) * len(DIRTY))
        else:
            since, closed = known.until, frozenset(range(known.before, before))
            known = replace(known, until=until, before=max(before, known.before))
            known = known.with_dirty(self._touched(tenant, pack, since, known.before))
            known = known.with_dirty((closed,) * len(DIRTY))
        self._say(tenant, known)
        if not is_being_filled(self._warehouse, tenant, now):
            known = self._count(tenant, pack, known, told=not fresh)
            known = self._count_ways(tenant, pack, known)
        return known.dirty[-1] | known.ways

    def _count(self, tenant: str, pack: Pack, known: Coverage, *, told: bool) -> Coverage:
        """Count dirty days that do not rest."""
        now = self._clock.monotonic()
        due = sorted(day for day in known.dirty[-1] if self._rests.get((tenant, day), 0.0) <= now)
        sizes = self._sizes(tenant, due[0], due[-1] + 1) if due else {}
        for days in batches(due, sizes):
            if self._stopping():
                break
            began = self._clock.monotonic()
            counted = self._counted(tenant, days) if told else frozenset()
            before = self._told(tenant, days) if told else {}
            self._count_days(tenant, pack, known, days)
            if counted:
                self._tell(tenant, counted, before, self._told(tenant, days))
            known = replace(known, dirty=tuple(one - set(days) for one in known.dirty))
            self._say(tenant, known)
            ended = self._clock.monotonic()
            rest = min(REST * (ended - began), LONGEST_REST)
            self._rests |= {(tenant, day): ended + rest for day in days}
            log.info("counted %d days of %s in %.1f s", len(days), tenant, ended - began)
        return known

    def _count_days(self, tenant: str, pack: Pack, known: Coverage, days: Sequence[int]) -> None:
        """Count what is dirty of some days."""
        self._number(tenant, days)
        revision = self._next_revision()
        for family, reach in self._sql.families(pack).items():
            some = [day for day in days if day in known.dirty[reach]]
            if some:
                self._warehouse.command(*self._sql.insert_days(family, tenant, pack, some, revision))

    def _count_ways(self, tenant: str, pack: Pack, known: Coverage) -> Coverage:
        """Count the ways that touch days which were counted, where no day of theirs is dirty or under way."""
        due, dirty = known.ways - known.dirty[ORDERS], known.dirty[ORDERS]
        began, place = self._clock.monotonic(), (tenant, WAYS)
        if not due or self._rests.get(place, 0.0) > began:
            return known
        for funnel, reach in self._sql.ways(pack).items():
            entries = {day - back for day in due for back in range(reach + 1) if day - back + reach < known.before}
            clean = sorted(entries - {day - back for day in dirty for back in range(reach + 1)})
            sizes = self._sizes(tenant, clean[0], clean[-1] + reach + 1) if clean else {}
            for days in chunks(clean, WAY_DAYS):
                if self._stopping():
                    return known
                events = sum(n for day, n in sizes.items() if days[0] <= day <= days[-1] + reach)
                parts, revision = events > BATCH_EVENTS, self._next_revision()
                for statement in self._sql.insert_ways(funnel, tenant, pack, days, revision, parts=parts):
                    self._warehouse.command(*statement)
        known = replace(known, ways=known.ways - due)
        self._say(tenant, known)
        ended = self._clock.monotonic()
        self._rests[place] = ended + min(REST * (ended - began), LONGEST_REST)
        return known

    def _number(self, tenant: str, days: Sequence[int]) -> None:
        """Give every user of these days a number. A number or a user twice: somebody else was at it; begin anew."""
        sql = (
            "SELECT max(number) AS last, count() AS n, uniqExact(number) AS numbers FROM user_numbers"
            " WHERE tenant = {tenant:String}"
        )
        (row,) = self._warehouse.query(sql, {"tenant": tenant})
        self._warehouse.command(*self._sql.insert_numbers(tenant, days, int(row["last"]) + 1))
        (after,) = self._warehouse.query(sql, {"tenant": tenant})
        if int(after["n"]) != int(after["numbers"]):
            self.forget(tenant)
            raise Retryable(f"users of {tenant} were numbered twice, by two watchers; the rollups begin anew")

    def forget(self, tenant: str) -> None:
        """Have everything of a tenant counted anew; until then readers use the events. Raises `Retryable`."""
        for table in TABLES:
            self._warehouse.command(f"DELETE FROM {table} WHERE tenant = {{tenant:String}}", {"tenant": tenant})

    def _touched(self, tenant: str, pack: Pack, since: float, before: int) -> Dirty:
        found = self._warehouse.query(*self._sql.touched(tenant, pack, since, before))
        more: list[set[int]] = [set() for _ in DIRTY]
        more[0].update(int(row["day"]) for row in found)
        more[-1].update(day + 1 for day in more[0] if day + 1 < before)
        if any(int(row["reaching"]) for row in found):
            for row in self._warehouse.query(*self._sql.related(tenant, pack, since, before)):
                more[int(row["reach"])].add(int(row["day"]))
        return tuple(map(frozenset, more))

    def _unsettled(self, tenant: str) -> float:
        """Since when (Unix seconds) events are being taken out that may be there still; infinity where none is."""
        sql = (
            "SELECT toFloat64(min(found_at)) AS at, count() AS n FROM conflicts FINAL"
            " WHERE tenant = {tenant:String} AND moved AND NOT settled"
        )
        (row,) = self._warehouse.query(sql, {"tenant": tenant})
        return float(row["at"]) if int(row["n"]) else math.inf

    def _sizes(self, tenant: str, first: int, before: int) -> dict[int, int]:
        """Events of each day that has any."""
        sql = (
            "SELECT toInt32(toDate32(timestamp)) AS day, count() AS n FROM events WHERE tenant = {tenant:String}"
            " AND toInt32(toDate32(timestamp)) >= {first:Int32} AND toInt32(toDate32(timestamp)) < {before:Int32}"
            " GROUP BY day"
        )
        rows = self._warehouse.query(sql, {"tenant": tenant, "first": first, "before": before})
        return {int(row["day"]): int(row["n"]) for row in rows}

    def _told(self, tenant: str, days: Sequence[int]) -> dict[Place, Counts]:
        return {
            (int(row["at"]), row["family"], row["dimension"], row["value"]): Counts(
                int(row["events"]), int(row["micros"]), int(row["people"])
            )
            for row in self._warehouse.query(*self._sql.told(tenant, days))
        }

    def _counted(self, tenant: str, days: Sequence[int]) -> frozenset[int]:
        return frozenset(int(row["at"]) for row in self._warehouse.query(*self._sql.counted_days(tenant, days)))

    def _tell(
        self, tenant: str, counted: frozenset[int], before: Mapping[Place, Counts], after: Mapping[Place, Counts]
    ) -> None:
        """Write down what moved on days that had been counted before."""
        rows = corrections(tenant, self._now(), before, {k: v for k, v in after.items() if k[0] in counted})
        self._warehouse.insert_lines("corrections", b"".join(rows))

    def _known(self, tenant: str) -> Coverage | None:
        names = (*DIRTY, DIRTY_WAYS)
        days = ", ".join(f"arrayMap(d -> toInt32(d), {name}) AS days_{at}" for at, name in enumerate(names))
        rows = self._warehouse.query(
            f"SELECT definition, toFloat64(until) AS at, toInt32(before) AS first_open, {days}, revision"
            " FROM rollup_coverage FINAL WHERE tenant = {tenant:String}",
            {"tenant": tenant},
        )
        if not rows:
            return None
        (row,) = rows
        self._revision = max(self._revision, int(row["revision"]))
        *dirty, ways = (frozenset(map(int, row[f"days_{at}"])) for at in range(len(names)))
        return Coverage(row["definition"], float(row["at"]), int(row["first_open"]), tuple(dirty), ways)

    def _say(self, tenant: str, known: Coverage) -> None:
        row = {
            "tenant": tenant,
            "definition": known.definition,
            "until": round(known.until, 3),
            "before": _date(known.before),
            "revision": self._next_revision(),
            **{name: [_date(day) for day in sorted(days)] for name, days in zip(DIRTY, known.dirty, strict=True)},
            DIRTY_WAYS: [_date(day) for day in sorted(known.ways)],
        }
        self._warehouse.insert_lines("rollup_coverage", orjson.dumps(row) + b"\n")

    def _next_revision(self) -> int:
        self._revision = max(self._revision + 1, int(self._now() * 1000))
        return self._revision

    def _now(self) -> float:
        """The warehouse's clock, by which rows have their time."""
        return float(self._warehouse.query("SELECT toFloat64(now64(3, 'UTC')) AS now")[0]["now"])


def batches(days: Sequence[int], sizes: Mapping[int, int]) -> Iterable[list[int]]:
    """Days in groups of at most `BATCH_EVENTS` events, or of one day."""
    some: list[int] = []
    size = 0
    for day in days:
        if some and size + sizes.get(day, 0) > BATCH_EVENTS:
            yield some
            some, size = [], 0
        some.append(day)
        size += sizes.get(day, 0)
    if some:
        yield some


def chunks(days: Sequence[int], most: int) -> Iterable[Sequence[int]]:
    """Days in groups that span at most so many."""
    at = 0
    for end in range(1, len(days) + 1):
        if end == len(days) or days[end] - days[at] >= most:
            yield days[at:end]
            at = end


def corrections(
    tenant: str, found_at: float, before: Mapping[Place, Counts], after: Mapping[Place, Counts]
) -> Iterable[bytes]:
    """Lines of `corrections`: each place whose counts are other than before."""
    nothing = Counts(0, 0, 0)
    for place in sorted({*before, *after}):
        was, now = before.get(place, nothing), after.get(place, nothing)
        if was == now:
            continue
        day, family, dimension, value = place
        row = {
            "tenant": tenant,
            "found_at": round(found_at, 3),
            "day": _date(day),
            "family": family,
            "dimension": dimension,
            "value": value,
        }
        for name, one, other in zip(Counts._fields, was, now, strict=True):
            row |= {f"{name}_before": str(one), f"{name}_after": str(other)}
        yield orjson.dumps(row) + b"\n"


def _date(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()
