"""Which days the rollups of a tenant hold as they are now: counted ones that nothing has touched since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from api.rollups.counted import Days
from api.rollups.families import Reach
from api.slices import DAY_MS, Pieces

DIRTY: Final = ("dirty", "dirty_orders", "dirty_customers", "dirty_lives")
"""The columns of `rollup_coverage`, by reach."""


@dataclass(frozen=True)
class Coverage:
    """All days before `before` are counted, and nothing of them has changed, but for the `dirty` ones of each reach."""

    before: int
    dirty: tuple[frozenset[int], ...] = (frozenset(),) * len(Reach)

    def split(self, start_ms: int, end_ms: int, reach: Reach) -> tuple[Days, Pieces]:
        """The counted days that lie in a range as a whole, and what else is in it."""
        days: Days = []
        day, last = -(-start_ms // DAY_MS), min(end_ms // DAY_MS, self.before)
        for dirty in (*sorted(one for one in self.dirty[reach] if day <= one < last), last):
            if day < dirty:
                days.append((day, dirty))
            day = dirty + 1
        pieces, at = [], start_ms
        for first, after in days:
            if at < first * DAY_MS:
                pieces.append((at, first * DAY_MS))
            at = after * DAY_MS
        if at < end_ms:
            pieces.append((at, end_ms))
        return days, tuple(pieces)

    def around(self, start_ms: int, end_ms: int, reach: Reach) -> tuple[Days, Pieces]:
        """The same of rows that have their times: the counted days that the range has a part of, and what else is."""
        days, pieces = self.split(start_ms // DAY_MS * DAY_MS, -(-end_ms // DAY_MS) * DAY_MS, reach)
        return days, tuple((max(start, start_ms), min(end, end_ms)) for start, end in pieces)
