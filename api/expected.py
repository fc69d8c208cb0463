"""How much data a range usually has: the same weekday and hours of earlier weeks, as the reconciliation counted them.

Promise: `low` only where a range has less than 90 % of the median of at least two weeks, and less than each of them, so
that what varies from week to week is not taken for missing. Without history nothing is said.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from api.ledger import INCOMPLETE_BELOW, MINUTE, failed
from api.reader import Reader
from api.slices import Binder
from schemas.clock import Clock

WEEKS: Final = 4
"""Weeks that are looked back; longer ranges go back by as many whole weeks as they are long."""
FEWEST: Final = 2
LONGEST_MS: Final = 35 * 86_400_000
_WEEK: Final = 7 * 86_400_000
_REUSE_SECONDS: Final = 60.0
_KEEP: Final = 256
_ROUND: Final = 2 * MINUTE
"""What the reconciliation may be behind: a minute closes, and is then looked at."""


@dataclass(frozen=True)
class Expected:
    """Events received in a range, and in the same hours of earlier weeks, newest first. `percent`: of their median."""

    events: int
    earlier: tuple[int, ...]

    @property
    def usual(self) -> float | None:
        """The median of the earlier weeks; None where there are too few."""
        return float(median(self.earlier)) if len(self.earlier) >= FEWEST else None

    @property
    def percent(self) -> float | None:
        """What there is of what is usual; None where nothing is."""
        return 100 * self.events / self.usual if self.usual else None

    @property
    def low(self) -> bool:
        """Whether data seems to be missing."""
        return self.percent is not None and self.percent < INCOMPLETE_BELOW and self.events < min(self.earlier)

    def as_json(self) -> dict[str, Any]:
        """For answers."""
        percent = self.percent
        return {
            "events": self.events,
            "usual": self.usual,
            "weeks": len(self.earlier),
            "percent": None if percent is None else round(percent, 2),
        }


NOTHING: Final = Expected(0, ())


class ExpectedReader:
    """Reads what is usual for ranges of a tenant. Times in ms. Raises what the reader raises."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self._reader, self._clock = reader, clock
        self._known: OrderedDict[tuple[str, int, int], tuple[float, asyncio.Task[Expected]]] = OrderedDict()

    async def of(self, tenant: str, start_ms: int, end_ms: int) -> Expected:
        """The whole minutes of a range; the answer is kept for a minute, and shared while it is being read."""
        start, end = -(-start_ms // MINUTE) * MINUTE, end_ms // MINUTE * MINUTE
        if not 0 < end - start <= LONGEST_MS:
            return NOTHING
        now, key = self._clock.monotonic(), (tenant, start, end)
        known = self._known.get(key)
        if known is None or now - known[0] >= _REUSE_SECONDS or failed(known[1]):
            known = self._known[key] = (now, asyncio.create_task(self._read(tenant, start, end)))
            while len(self._known) > _KEEP:
                self._known.popitem(last=False)
        return await asyncio.shield(known[1])

    async def _read(self, tenant: str, start: int, end: int) -> Expected:
        reconciled, first = await self._span(tenant)
        end = min(end, reconciled - _ROUND)
        if not first or end <= start:
            return NOTHING
        step = -(-(end - start) // _WEEK) * _WEEK
        bind = Binder()
        at = "toInt64(toUnixTimestamp(minute)) * 1000"
        back = f"intDiv({bind(end, 'Int64')} - 1 - ({at}), {bind(step, 'Int64')})"
        sql = (
            f"SELECT {back} AS back, sum(found) FROM reconciliation FINAL "
            f"WHERE tenant = {bind(tenant)} AND what = 'accepted' AND minute < {bind.time(end)} "
            f"AND minute >= {bind.time(start - WEEKS * step)} "
            f"AND {at} + back * {bind(step, 'Int64')} >= {bind(start, 'Int64')} GROUP BY back"
        )
        counts = {int(k): int(n) for k, n in await self._reader.rows(sql, bind.params)}
        weeks = [k for k in range(1, WEEKS + 1) if start - k * step >= first]
        return Expected(counts.get(0, 0), tuple(counts.get(k, 0) for k in weeks))

    async def _span(self, tenant: str) -> tuple[int, int]:
        """Up to when minutes are reconciled, and when the tenant's first was; 0 before there was any."""
        bind = Binder()
        sql = (
            "SELECT toInt64(toUnixTimestamp(maxIf(minute, tenant = ''))) * 1000, "
            f"toInt64(toUnixTimestamp(minIf(minute, tenant != ''))) * 1000 FROM reconciliation "
            f"WHERE (tenant = '' AND what = 'round') OR (tenant = {bind(tenant)} AND what = 'accepted')"
        )
        reconciled, first = (await self._reader.rows(sql, bind.params))[0]
        return int(reconciled), int(first)
