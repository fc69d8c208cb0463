"""The conservation ledger: what was received, and what became of it; and how complete and fresh the data is.

Ranges are whole minutes of receipt. Minutes that closed more than five minutes ago hardly change, so the live stream
and the completeness of metrics reuse their sums for a minute and read only the rest; `/pipeline` reads everything.
What collectors had no time to count is read out of the chunks themselves in the last minutes, by their watermarks
(`schemas.ledger`), and before out of the rows that the reconciliation has written by then.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from api.reader import Reader
from api.slices import Binder
from api.sums import Book, Sums
from api.times import iso
from schemas import ledger
from schemas.clock import Clock

MINUTE: Final = 60_000
SKEW: Final = 3_600_000
"""How far the clocks of collectors and warehouse may differ; it only widens what is looked at."""
INCOMPLETE_BELOW: Final = 90.0
_CLOSING: Final = 10_000
"""How long after its end a minute counts as open: counts travel for a moment."""
_SETTLED: Final = 5 * MINUTE
_RECONCILED: Final = 26 * 60 * MINUTE
"""How long after it closed a minute has been looked at for the last time (`stream_processors.watch.reconcile`)."""
_SETTLING: Final = (ledger.DUPLICATE, ledger.SUPPRESSED, ledger.DEAD_LETTER)
"""What became of accepted events that are not stored."""
_RECOVERED: Final = 15 * MINUTE
"""How long after it closed a minute's uncounted chunks are surely written as recovered."""
_TRIES: Final = 3
_ALIVE: Final = 86_400_000
_MILLIS: Final = "toInt64(toUnixTimestamp(minute)) * 1000"
_REUSE_SECONDS: Final = 60.0
_SHARE_SECONDS: Final = 2.0
_KEEP: Final = 256
_RATE_SECONDS: Final = 10


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
        self._quiet: OrderedDict[str, tuple[float, int | None]] = OrderedDict()
        self._shared: OrderedDict[tuple[str, int, int], tuple[float, asyncio.Task[Book]]] = OrderedDict()

    def closed_until(self) -> int:
        """Minutes before this are closed."""
        return (int(self._clock.now() * 1000) - _CLOSING) // MINUTE * MINUTE

    async def completeness(self, tenant: str, start_ms: int, end_ms: int) -> float:
        """Percent; equal questions within two seconds share one answer, also while it is still being read."""
        key = (tenant, *_minutes(start_ms, end_ms))
        now = self._clock.monotonic()
        known = self._shared.get(key)
        if known is None or now - known[0] >= _SHARE_SECONDS or failed(known[1]):
            known = self._shared[key] = (now, asyncio.create_task(self.recent(*key)))
            _trim(self._shared)
        return (await asyncio.shield(known[1])).all.completeness

    async def recent(self, tenant: str, start_ms: int, end_ms: int) -> Book:
        """The book of a range: what is old by the reconciliation; one that reaches the present mostly from memory."""
        start, end = _minutes(start_ms, end_ms)
        cut = self.closed_until() - _SETTLED
        if not start < cut < end:
            return await self.book(tenant, start, end, reconciled=True)
        known = self._settled.get((tenant, start))
        now = self._clock.monotonic()
        if known is None or now - known.at >= _REUSE_SECONDS or known.until > end:
            book = await self.book(tenant, start, cut, reconciled=True)
            known = self._settled[tenant, start] = _Settled(now, cut, book)
            _trim(self._settled)
        return known.book + await self.book(tenant, known.until, end)

    async def book(self, tenant: str, start_ms: int, end_ms: int, *, reconciled: bool = False) -> Book:
        """The book of the whole minutes that [start, end) touches.

        `reconciled`: of minutes that nobody looks at any more, what is stored is taken from the reconciliation, instead
        of counting the events of all history.
        """
        start, end = _minutes(start_ms, end_ms)
        closed = self.closed_until()
        old = min(end, closed - _RECONCILED)
        known = await self._reconciled_rows(tenant, start, old) if reconciled and start < old else None
        rows, kept = await asyncio.gather(
            self._counts(tenant, start, end, closed),
            self._stored(tenant, old if known is not None else start, end, closed),
        )
        kept = [*kept, (True, known or 0)]
        book = Book()
        for at, stage, reason, n in rows:
            book.all.add(stage, reason, n)
            if at < closed:
                book.closed.add(stage, reason, n)
        for is_closed, n in kept:
            book.all.stored += int(n)
            if is_closed:
                book.closed.stored += int(n)
        return book

    async def _stored(self, tenant: str, start: int, end: int, closed: int) -> list[tuple[bool, int]]:
        """Whether their minute is closed, and how many distinct events are stored."""
        if start >= end:
            return []
        bind = Binder()
        sql = (
            f"SELECT received_at < {bind.time(closed)} AS closed, uniqExact(event_id) FROM events "
            f"WHERE {stored_where(bind, tenant, start, end)} GROUP BY closed"
        )
        return [(bool(is_closed), int(n)) for is_closed, n in await self._rows(sql, bind)]

    async def _reconciled_rows(self, tenant: str, start: int, end: int) -> int | None:
        """Distinct stored events by the reconciliation; None where it has not looked at all that the ledger has."""
        bind, of = Binder(), Binder()
        sql = (
            f"SELECT stage, sum(n) FROM ledger FINAL WHERE tenant = {bind(tenant)} AND minute >= {bind.time(start)} "
            f"AND minute < {bind.time(end)} AND stage IN {bind([ledger.ACCEPTED, *_SETTLING], 'Array(String)')} "
            "GROUP BY stage"
        )
        found = (
            f"SELECT sum(expected), sum(found) FROM reconciliation FINAL WHERE tenant = {of(tenant)} "
            f"AND what = 'accepted' AND minute >= {of.time(start)} AND minute < {of.time(end)}"
        )
        stages, ((expected, settled),) = await asyncio.gather(self._rows(sql, bind), self._rows(found, of))
        counts = {str(stage): int(n) for stage, n in stages}
        if counts.pop(ledger.ACCEPTED, 0) != int(expected):
            return None
        return int(settled) - sum(counts.values())

    async def as_of(self, tenant: str) -> int | None:
        """When the newest stored event of a tenant was inserted; None before the first."""
        now = self._clock.monotonic()
        lately = await self._newest(tenant, int(self._clock.now() * 1000) - _ALIVE)
        if lately is None:
            known = self._quiet.get(tenant)
            if known is None or now - known[0] >= _REUSE_SECONDS:
                known = self._quiet[tenant] = (now, await self._newest(tenant, None))
                _trim(self._quiet)
            return known[1]
        return lately

    async def _newest(self, tenant: str, since: int | None) -> int | None:
        bind = Binder()
        lately = f" AND inserted_at >= {bind.time(since)}" if since is not None else ""
        sql = (
            "SELECT toUnixTimestamp64Milli(max(inserted_at)), count() FROM events "
            f"WHERE tenant = {bind(tenant)}{lately}"
        )
        newest, n = (await self._rows(sql, bind))[0]
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
        found: dict[int, Sums] = {}
        for at, stage, reason, n in sorted(await self._counts(tenant, start, end, None)):
            found.setdefault(at, Sums()).add(stage, reason, n)
        return [_minute(at, sums) for at, sums in found.items()]

    async def reconciled(self, tenant: str, start_ms: int, end_ms: int) -> dict[str, Any]:
        """When the reconciliation was last seen at work, and what it found wrong in the range."""
        start, end = _minutes(start_ms, end_ms)
        bind = Binder()
        lately = int(self._clock.now() * 1000) - _ALIVE
        sql = (
            "SELECT tenant = '' AS alive, toUnixTimestamp64Milli(max(checked_at)), "
            "sum(abs(difference)), uniqExactIf(minute, difference != 0) FROM reconciliation FINAL "
            f"WHERE (tenant = {bind(tenant)} AND minute >= {bind.time(start)} AND minute < {bind.time(end)}) "
            f"OR (tenant = '' AND minute >= {bind.time(lately)}) GROUP BY alive"
        )
        found = {bool(alive): (int(at), int(n), int(minutes)) for alive, at, n, minutes in await self._rows(sql, bind)}
        _, difference, minutes = found.get(False, (0, 0, 0))
        at = found[True][0] if True in found else None
        return {"checked_at": iso(at), "difference": difference, "minutes": minutes}

    async def conflicts(self, tenant: str, start_ms: int, end_ms: int) -> int:
        """Events received in the range whose id stands for another event."""
        start, end = _minutes(start_ms, end_ms)
        bind = Binder()
        sql = (
            f"SELECT count() FROM conflicts FINAL WHERE tenant = {bind(tenant)} AND kind != 'copy' "
            f"AND received_at >= {bind.time(start)} AND received_at < {bind.time(end)}"
        )
        return int((await self._rows(sql, bind))[0][0])

    async def _counts(self, tenant: str, start: int, end: int, split: int | None) -> list[tuple[int, str, str, int]]:
        """(minute in ms, stage, reason, n), with chunks that are in no published count as recovered.

        `split`: only tell apart what was before it (0) and since; None: tell minutes apart. A publication between the
        two reads would count a chunk twice or not at all; then they are made again.
        """
        closed = self.closed_until()
        fresh = max(start, closed - _RECOVERED)
        marks = await self._watermarks(tenant, fresh) if fresh < end else {}
        for _ in range(_TRIES):
            bind = Binder()
            at = f"if(minute < {bind.time(split)}, 0, {bind(split, 'Int64')})" if split else _MILLIS
            uncounted = ledger.uncounted(marks, bind.time(fresh - ledger.MARKS_BEFORE * 1000))
            young = f"minute >= {bind.time(fresh)}"
            sql = (
                f"SELECT {at} AS at, stage, reason, sumIf(n, NOT ({young} AND stage = '{ledger.RECOVERED}')) AS total, "
                f"sumIf(n, {young} AND {uncounted}) AS under_way FROM ledger FINAL WHERE tenant = {bind(tenant)} "
                f"AND minute >= {bind.time(start)} AND minute < {bind.time(end)} GROUP BY at, stage, reason"
            )
            rows = await self._rows(sql, bind)
            before, marks = marks, await self._watermarks(tenant, fresh) if any(row[4] for row in rows) else marks
            if marks == before:
                break
        counts = [(int(at), stage, reason, int(n)) for at, stage, reason, n, _ in rows]
        return counts + [(int(row[0]), ledger.RECOVERED, "", int(row[4])) for row in rows if row[4]]

    async def _watermarks(self, tenant: str, fresh: int) -> dict[int, int]:
        bind = Binder()
        sql = (
            "SELECT stage, origin, max(n) FROM ledger "
            f"WHERE (tenant = '' AND stage = '{ledger.WATERMARK}' "
            f"AND minute >= {bind.time(fresh - ledger.MARKS_BEFORE * 1000)}) "
            f"OR (tenant = {bind(tenant)} AND stage = '{ledger.RECEIVED}' AND minute >= {bind.time(fresh)}) "
            "GROUP BY stage, origin"
        )
        return ledger.watermarks([(row[0], row[1], row[2]) for row in await self._rows(sql, bind)])

    async def _rows(self, sql: str, bind: Binder) -> list[Any]:
        return list(await self._reader.rows(sql, bind.params))


def stored_where(bind: Binder, tenant: str, start_ms: int, end_ms: int) -> str:
    """The condition for events received in [start, end); by `inserted_at` too, which has the index."""
    return (
        f"tenant = {bind(tenant)} AND received_at >= {bind.time(start_ms)} AND received_at < {bind.time(end_ms)} "
        f"AND inserted_at >= {bind.time(start_ms - SKEW)}"
    )


def _minutes(start_ms: int, end_ms: int) -> tuple[int, int]:
    return start_ms // MINUTE * MINUTE, -(-end_ms // MINUTE) * MINUTE


def _minute(at: int, sums: Sums) -> dict[str, Any]:
    return {
        "minute": iso(at),
        "received": sums.received,
        "accepted": sums.accepted,
        "rejected": sum(sums.rejected.values()),
        "duplicates": sums.duplicates,
        "late": sums.late,
        "recovered": sums.recovered,
    }


def failed(task: asyncio.Task[Any]) -> bool:
    """Whether a shared read ended without an answer."""
    return task.done() and (task.cancelled() or task.exception() is not None)


def _trim(entries: OrderedDict[Any, Any]) -> None:
    while len(entries) > _KEEP:
        entries.popitem(last=False)
