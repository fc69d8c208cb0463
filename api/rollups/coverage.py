"""Which days the rollups of a tenant hold as they are now: counted ones that nothing has touched since."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from api.rollups.counted import Days
from api.rollups.families import Reach
from api.slices import DAY_MS, Pieces

DIRTY: Final = ("dirty", "dirty_orders", "dirty_customers", "dirty_lives", "dirty_next_days")
"""The columns of `rollup_coverage`, by reach."""
DIRTY_WAYS: Final = "dirty_ways"


@dataclass(frozen=True)
class Coverage:
    """All days before `before` are counted, and nothing of them has changed, but for the `dirty` ones of each reach.

    `ways`: days that were counted again, while ways that touch them (`api.funnels.days`) were not.
    """

    before: int
    dirty: tuple[frozenset[int], ...] = (frozenset(),) * len(Reach)
    ways: frozenset[int] = frozenset()

    def split(self, start_ms: int, end_ms: int, reach: Reach) -> tuple[Days, Pieces]:
        """The counted days that lie in a range as a whole, and what else is in it."""
        return _split(start_ms, end_ms, self.before, self.dirty[reach])

    def entries(self, start_ms: int, end_ms: int, days_after: int) -> tuple[Days, Pieces]:
        """The same of entries of funnels: the days whose ways are counted, which may end so many days after."""
        touched = self.dirty[Reach.ORDERS] | self.ways
        dirty = {day - back for day in touched for back in range(days_after + 1)}
        return _split(start_ms, end_ms, self.before - days_after, dirty)

    def around(self, start_ms: int, end_ms: int, reach: Reach) -> tuple[Days, Pieces]:
        """The same of rows that have their times: the counted days that the range has a part of, and what else is."""
        days, pieces = self.split(start_ms // DAY_MS * DAY_MS, -(-end_ms // DAY_MS) * DAY_MS, reach)
        return days, tuple((max(start, start_ms), min(end, end_ms)) for start, end in pieces)


def _split(start_ms: int, end_ms: int, before: int, dirty: Collection[int]) -> tuple[Days, Pieces]:
    days: Days = []
    day, last = -(-start_ms // DAY_MS), min(end_ms // DAY_MS, before)
    for gap in (*sorted(one for one in dirty if day <= one < last), last):
        if day < gap:
            days.append((day, gap))
        day = gap + 1
    pieces, at = [], start_ms
    for first, after in days:
        if at < first * DAY_MS:
            pieces.append((at, first * DAY_MS))
        at = after * DAY_MS
    if at < end_ms:
        pieces.append((at, end_ms))
    return days, tuple(pieces)
