"""What is said of a number besides: whether its point is whole, lies far from the others, and where it stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from statistics import NormalDist, median
from typing import Any, NamedTuple

WIDTHS = {
    "minute": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)


class Point(NamedTuple):
    """One point of a series, in ms: its own bounds, and the part of it that a range holds."""

    begins: int
    ends: int
    start: int
    end: int

    @property
    def text(self) -> str:
        """The begin, as answers spell it."""
        return (EPOCH + self.begins * MS).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def points(interval: str, start: int, end: int) -> list[Point]:
    """Of a range by the calendar, UTC: months from the first, weeks from Monday, the others from midnight."""
    at, found = _midnight(interval, EPOCH + start * MS), []
    while (at - EPOCH) // MS < end:
        after = _after(interval, at)
        begins, ends = (at - EPOCH) // MS, (after - EPOCH) // MS
        if ends > start:
            found.append(Point(begins, ends, max(begins, start), min(ends, end)))
        at = after
    return found


def _midnight(interval: str, moment: datetime) -> datetime:
    """A moment not after this one where a point begins."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if interval == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if interval == "week" else day


def _after(interval: str, at: datetime) -> datetime:
    if interval == "month":
        return at.replace(year=at.year + at.month // 12, month=at.month % 12 + 1)
    return at + WIDTHS[interval]


def far(values: Sequence[Fraction | None]) -> list[bool]:
    """Whether each lies more than 3 standard deviations from the median; of fewer than seven none does.

    The deviation is that of a normal distribution with the same median distance, or mean distance where the median
    one is 0. None: not to be judged, nor to judge by.
    """
    known = [one for one in values if one is not None]
    if len(known) < 7:
        return [False] * len(values)
    middle = median(known)
    distances = [abs(one - middle) for one in known]
    deviation = float(median(distances)) / NormalDist().inv_cdf(0.75)
    if not deviation:
        deviation = float(sum(distances) / len(distances)) * math.sqrt(math.pi / 2)
    return [one is not None and deviation > 0 and abs(one - middle) > 3 * deviation for one in values]


def standing(value: Fraction | None, least: Any, most: Any) -> str | None:
    """Where a value stands beside what is healthy; None: no such bound."""
    if value is None or least is most is None:
        return None
    if least is not None and value < Fraction(str(least)):
        return "low"
    return "high" if most is not None and value > Fraction(str(most)) else "healthy"
