"""How complete and how fresh the data behind a number is.

Completeness: of what was acknowledged in the range (by minute of receipt), the share that is stored or known as a
duplicate. Expected is what the collectors received and did not reject, or what the workers took over, whichever is
more: either side may be ahead of the other by a second. Answers are shared for a moment, because a page asks many
metrics about one range.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from api.reader import Reader
from api.slices import Binder
from schemas.clock import Clock

MINUTE: Final = 60_000
SKEW: Final = 3_600_000
"""How far the clocks of collectors and warehouse may differ; only widens what is looked at."""
INCOMPLETE_BELOW: Final = 90.0
_KEEP_SECONDS: Final = 2.0
_KEEP: Final = 512


@dataclass(frozen=True)
class Coverage:
    """`completeness`: percent of the expected data that is there, 100 where none is expected."""

    completeness: float

    @property
    def incomplete(self) -> bool:
        return self.completeness < INCOMPLETE_BELOW


def stored_where(bind: Binder, tenant: str, start_ms: int, end_ms: int) -> str:
    """The condition for events received in [start, end); by `inserted_at` too, which has the index."""
    return (
        f"tenant = {bind(tenant)} AND received_at >= {bind.time(start_ms)} AND received_at < {bind.time(end_ms)} "
        f"AND inserted_at >= {bind.time(start_ms - SKEW)}"
    )


class CoverageReader:
    """Reads coverage; equal questions within two seconds share one answer, also while it is still being read."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self._reader, self._clock = reader, clock
        self._known: OrderedDict[tuple[str, int, int], tuple[float, asyncio.Task[Coverage]]] = OrderedDict()

    async def coverage(self, tenant: str, start_ms: int, end_ms: int) -> Coverage:
        """The coverage of the whole minutes that [start, end) touches. Raises what the reader raises."""
        key = (tenant, start_ms // MINUTE * MINUTE, -(-end_ms // MINUTE) * MINUTE)
        now = self._clock.monotonic()
        known = self._known.get(key)
        if known is None or now - known[0] >= _KEEP_SECONDS or (known[1].done() and known[1].exception()):
            known = (now, asyncio.create_task(self._read(*key)))
            self._known[key] = known
            self._known.move_to_end(key)
            while len(self._known) > _KEEP:
                self._known.popitem(last=False)
        return await asyncio.shield(known[1])

    async def as_of(self, tenant: str) -> int | None:
        """When the newest stored event of a tenant was inserted, in ms; None before the first."""
        bind = Binder()
        rows = await self._reader.rows(
            f"SELECT toUnixTimestamp64Milli(max(inserted_at)), count() FROM events WHERE tenant = {bind(tenant)}",
            bind.params,
        )
        newest, n = rows[0]
        return int(newest) if n else None

    async def _read(self, tenant: str, start_ms: int, end_ms: int) -> Coverage:
        counted, stored = await asyncio.gather(
            self._counted(tenant, start_ms, end_ms), self._stored(tenant, start_ms, end_ms)
        )
        expected = max(counted.get("accepted", 0), counted.get("received", 0) - counted.get("rejected", 0))
        if expected <= 0:
            return Coverage(100.0)
        return Coverage(min(100.0, 100 * (stored + counted.get("duplicate", 0)) / expected))

    async def _counted(self, tenant: str, start_ms: int, end_ms: int) -> dict[str, int]:
        bind = Binder()
        sql = (
            f"SELECT stage, sum(n) FROM ledger FINAL WHERE tenant = {bind(tenant)} "
            f"AND minute >= {bind.time(start_ms)} AND minute < {bind.time(end_ms)} GROUP BY stage"
        )
        return {stage: int(n) for stage, n in await self._reader.rows(sql, bind.params)}

    async def _stored(self, tenant: str, start_ms: int, end_ms: int) -> int:
        bind = Binder()
        where = stored_where(bind, tenant, start_ms, end_ms)
        rows = await self._reader.rows(f"SELECT uniqExact(event_id) FROM events WHERE {where}", bind.params)
        return int(rows[0][0])
