"""The conservation ledger: what was received, and what became of it; and how complete and fresh the data is.

Ranges are whole minutes of receipt. Minutes that closed more than five minutes ago hardly change, so the live stream
and the completeness of metrics reuse their sums for a minute and read only the rest; `/pipeline` reads everything.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from api.reader import Reader
from api.slices import Binder
from api.times import iso
from schemas.clock import Clock

MINUTE: Final = 60_000
SKEW: Final = 3_600_000
"""How far the clocks of collectors and warehouse may differ; it only widens what is looked at."""
INCOMPLETE_BELOW: Final = 90.0
_CLOSING: Final = 10_000
"""How long after its end a minute counts as open: counts travel for a moment."""
_SETTLED: Final = 5 * MINUTE
_REUSE_SECONDS: Final = 60.0
_SHARE_SECONDS: Final = 2.0
_KEEP: Final = 256
_RATE_SECONDS: Final = 10


@dataclass
class Sums:
    """Counts of a range of minutes. `stored` counts distinct events in the table."""

    received: int = 0
    accepted: int = 0
    duplicates: int = 0
    late: int = 0
    stored: int = 0
    dead_letters: int = 0
    rejected: dict[str, int] = field(default_factory=dict)

    def add(self, stage: str, reason: str, n: int) -> None:
        """Take in one row of the ledger."""
        match stage:
            case "received":
                self.received += n
            case "accepted":
                self.accepted += n
            case "duplicate":
                self.duplicates += n
            case "late":
                self.late += n
            case "dead_letter":
                self.dead_letters += n
            case "rejected":
                self.rejected[reason] = self.rejected.get(reason, 0) + n

    def __add__(self, other: Sums) -> Sums:
        reasons = {*self.rejected, *other.rejected}
        return Sums(
            self.received + other.received,
            self.accepted + other.accepted,
            self.duplicates + other.duplicates,
            self.late + other.late,
            self.stored + other.stored,
            self.dead_letters + other.dead_letters,
            {reason: self.rejected.get(reason, 0) + other.rejected.get(reason, 0) for reason in sorted(reasons)},
        )

    @property
    def expected(self) -> int:
        """Events that must end up stored or duplicate; collectors and workers may each be a second ahead."""
        return max(self.accepted, self.received - sum(self.rejected.values()))

    @property
    def settled(self) -> int:
        """Accepted events whose fate is known: stored, a duplicate, or refused by the warehouse and kept aside."""
        return self.stored + self.duplicates + self.dead_letters

    @property
    def completeness(self) -> float:
        """Percent of the expected events that are there; 100 where none are expected."""
        if self.expected <= 0:
            return 100.0
        return min(100.0, 100 * (self.settled - self.dead_letters) / self.expected)


@dataclass
class Book:
    """The sums of a range, and of those of its minutes that are closed."""

    all: Sums = field(default_factory=Sums)
    closed: Sums = field(default_factory=Sums)

    def __add__(self, other: Book) -> Book:
        return Book(self.all + other.all, self.closed + other.closed)


@dataclass(frozen=True)
class _Settled:
    at: float
    until: int
    book: Book


class LedgerReader:
    """Reads the ledger of a tenant. Times in ms. Raises what the reader raises."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self._reader, self._clock = reader, clock
        self._settled: OrderedDict[tuple[str, int], _Settled] = OrderedDict()
        self._shared: OrderedDict[tuple[str, int, int], tuple[float, asyncio.Task[Book]]] = OrderedDict()

    def closed_until(self) -> int:
        """Minutes before this are closed."""
        return (int(self._clock.now() * 1000) - _CLOSING) // MINUTE * MINUTE

    async def completeness(self, tenant: str, start_ms: int, end_ms: int) -> float:
        """Percent; equal questions within two seconds share one answer, also while it is still being read."""
        key = (tenant, *_minutes(start_ms, end_ms))
        now = self._clock.monotonic()
        known = self._shared.get(key)
        if known is None or now - known[0] >= _SHARE_SECONDS or _failed(known[1]):
            known = self._shared[key] = (now, asyncio.create_task(self.recent(*key)))
            _trim(self._shared)
        return (await asyncio.shield(known[1])).all.completeness

    async def recent(self, tenant: str, start_ms: int, end_ms: int) -> Book:
        """The book of a range that reaches the present, mostly from memory; any other range is read in full."""
        start, end = _minutes(start_ms, end_ms)
        cut = self.closed_until() - _SETTLED
        if not start < cut < end:
            return await self.book(tenant, start, end)
        known = self._settled.get((tenant, start))
        now = self._clock.monotonic()
        if known is None or now - known.at >= _REUSE_SECONDS or known.until > end:
            known = self._settled[tenant, start] = _Settled(now, cut, await self.book(tenant, start, cut))
            _trim(self._settled)
        return known.book + await self.book(tenant, known.until, end)

    async def book(self, tenant: str, start_ms: int, end_ms: int) -> Book:
        """The book of the whole minutes that [start, end) touches, read in full."""
        start, end = _minutes(start_ms, end_ms)
        closed = self.closed_until()
        bind = Binder()
        counted = (
            "SELECT stage, reason, minute < " + bind.time(closed) + " AS closed, sum(n) FROM ledger FINAL "
            f"WHERE tenant = {bind(tenant)} AND minute >= {bind.time(start)} AND minute < {bind.time(end)} GROUP BY ALL"
        )
        where = Binder()
        stored = (
            f"SELECT received_at < {where.time(closed)} AS closed, uniqExact(event_id) FROM events "
            f"WHERE {stored_where(where, tenant, start, end)} GROUP BY closed"
        )
        rows, kept = await asyncio.gather(
            self._reader.rows(counted, bind.params), self._reader.rows(stored, where.params)
        )
        return _book(rows, kept)

    async def as_of(self, tenant: str) -> int | None:
        """When the newest stored event of a tenant was inserted; None before the first."""
        bind = Binder()
        sql = f"SELECT toUnixTimestamp64Milli(max(inserted_at)), count() FROM events WHERE tenant = {bind(tenant)}"
        newest, n = (await self._reader.rows(sql, bind.params))[0]
        return int(newest) if n else None

    async def freshness(self, tenant: str, start_ms: int, end_ms: int) -> dict[str, float | None]:
        """Seconds between the collector's answer and the row, of the events received in [start, end)."""
        bind = Binder()
        sql = (
            "SELECT count(), quantilesExact(0.5, 0.95, 0.99)"
            "(toUnixTimestamp64Milli(inserted_at) - toUnixTimestamp64Milli(received_at)) "
            f"FROM events WHERE {stored_where(bind, tenant, start_ms, end_ms)}"
        )
        n, quantiles = (await self._reader.rows(sql, bind.params))[0]
        seconds = [max(0, int(ms)) / 1000 if n else None for ms in quantiles]
        return dict(zip(("p50", "p95", "p99"), seconds, strict=True))

    async def rate(self, tenant: str) -> float:
        """Events stored a second, over the last ten."""
        now = int(self._clock.now() * 1000)
        bind = Binder()
        sql = (
            f"SELECT uniqExact(event_id) FROM events WHERE tenant = {bind(tenant)} "
            f"AND inserted_at >= {bind.time(now - _RATE_SECONDS * 1000)} AND inserted_at < {bind.time(now)}"
        )
        return round(int((await self._reader.rows(sql, bind.params))[0][0]) / _RATE_SECONDS, 1)

    async def minutes(self, tenant: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
        """One object a minute that has counts."""
        start, end = _minutes(start_ms, end_ms)
        bind = Binder()
        sql = (
            "SELECT toUnixTimestamp(minute) AS at, stage, sum(n) FROM ledger FINAL "
            f"WHERE tenant = {bind(tenant)} AND minute >= {bind.time(start)} AND minute < {bind.time(end)} "
            "GROUP BY at, stage ORDER BY at"
        )
        found: dict[int, Sums] = {}
        for at, stage, n in await self._reader.rows(sql, bind.params):
            found.setdefault(int(at), Sums()).add(stage, "", int(n))
        return [_minute(at, sums) for at, sums in found.items()]


def stored_where(bind: Binder, tenant: str, start_ms: int, end_ms: int) -> str:
    """The condition for events received in [start, end); by `inserted_at` too, which has the index."""
    return (
        f"tenant = {bind(tenant)} AND received_at >= {bind.time(start_ms)} AND received_at < {bind.time(end_ms)} "
        f"AND inserted_at >= {bind.time(start_ms - SKEW)}"
    )


def _minutes(start_ms: int, end_ms: int) -> tuple[int, int]:
    return start_ms // MINUTE * MINUTE, -(-end_ms // MINUTE) * MINUTE


def _book(rows: list[Any], kept: list[Any]) -> Book:
    book = Book()
    for stage, reason, closed, n in rows:
        book.all.add(stage, reason, int(n))
        if closed:
            book.closed.add(stage, reason, int(n))
    for closed, n in kept:
        book.all.stored += int(n)
        if closed:
            book.closed.stored += int(n)
    return book


def _minute(at: int, sums: Sums) -> dict[str, Any]:
    return {
        "minute": iso(at * 1000),
        "received": sums.received,
        "accepted": sums.accepted,
        "rejected": sum(sums.rejected.values()),
        "duplicates": sums.duplicates,
        "late": sums.late,
    }


def _failed(task: asyncio.Task[Book]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _trim(entries: OrderedDict[Any, Any]) -> None:
    while len(entries) > _KEEP:
        entries.popitem(last=False)
