"""Which points of a series lie far from the others: more than 3 standard deviations from their median.

The deviation is estimated so that the outliers themselves do not widen it: from the median of the distances to the
median, or, where more than half of the points are equal, from their mean (Iglewicz and Hoaglin, 1993).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Final

SIGMAS: Final = 3.0
FEWEST: Final = 7
"""Points below which nothing is said."""
_OF_MEDIAN: Final = 1.482602218505602
_OF_MEAN: Final = 1.2533141373155001
"""What makes these distances a standard deviation, for values of a normal distribution."""


def outliers(values: Sequence[float | None]) -> list[bool]:
    """For each value whether it is one; None never is. Shape (n,) to shape (n,)."""
    known = [value for value in values if value is not None]
    if len(known) < FEWEST:
        return [False] * len(values)
    middle = median(known)
    distances = [abs(value - middle) for value in known]
    sigma = _OF_MEDIAN * median(distances) or _OF_MEAN * fmean(distances)
    return [value is not None and sigma > 0 and abs(value - middle) > SIGMAS * sigma for value in values]
