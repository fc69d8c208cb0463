"""An earlier period beside the one that is asked about, and what changed since."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from api.slices import Slice
from api.times import iso

_KEPT: Final = ("value", "numerator", "denominator", "low", "high", "p_value", "treated_users", "control_users")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


class Against(StrEnum):
    """What a period is compared with: the one of the same length before it, or the same dates a year ago."""

    PREVIOUS_PERIOD = "previous_period"
    PREVIOUS_YEAR = "previous_year"


def earlier(asked: Slice, against: Against) -> Slice:
    """The same question about the earlier period. What is followed beyond a range is followed for as long."""
    if against is Against.PREVIOUS_PERIOD:
        width = asked.end_ms - asked.start_ms
        start, end = asked.start_ms - width, asked.start_ms
    else:
        start, end = year_before(asked.start_ms), year_before(asked.end_ms)
    known = asked.known_ms
    return replace(asked, start_ms=start, end_ms=end, known_ms=None if known is None else known - (asked.end_ms - end))


def year_before(ms: int) -> int:
    """The same date and time of the year before, UTC; 28 February for the 29th."""
    moment = _EPOCH + ms * _MS
    last = calendar.monthrange(moment.year - 1, moment.month)[1]
    return (moment.replace(year=moment.year - 1, day=min(moment.day, last)) - _EPOCH) // _MS


def compared(now: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """A cell of the earlier period, with `change` (now less then) and `change_percent` of it (null where it was 0)."""
    value, before = now["value"], then["value"]
    change = None if value is None or before is None else value - before
    percent = 100 * change / abs(before) if change is not None and before else None
    return {**{name: then[name] for name in _KEPT if name in then}, "change": change, "change_percent": percent}


def period(asked: Slice) -> dict[str, Any]:
    """The range of a question, to be read."""
    return {"start": iso(asked.start_ms), "end": iso(asked.end_ms)}
