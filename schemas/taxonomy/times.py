"""Event times as clients write them: ISO-8601 text, or Unix seconds or milliseconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final

MILLISECONDS_FROM: Final = 2e10
"""A number of at least this size is milliseconds (as seconds it would lie in the year 2603)."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SEPARATORS: Final = frozenset(("T", "t", " ", ""))


def to_unix(value: object) -> float | None:
    """Unix seconds of `value`, or None when it is not a time. Text without an offset is UTC; a bare date is midnight.

    Numbers in text ("1763712000") are not times: they are numbers that lost their type.
    """
    if type(value) is str:
        if value[4:5] != "-" or value[10:11] not in _SEPARATORS:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not -1e17 < value < 1e17 or not math.isfinite(value):
        return None
    return value / 1000 if abs(value) >= MILLISECONDS_FROM else float(value)


def to_iso(seconds: float) -> str:
    """ISO-8601 in UTC with milliseconds, for 0001 to 9999; raises OverflowError outside."""
    moment = _EPOCH + timedelta(milliseconds=round(seconds * 1000))
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
