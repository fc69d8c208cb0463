"""The hours of the week in a time zone: how much of a range falls into each. Pure arithmetic; nothing here reads.

Between a zone's changes the offset is constant, so a range is cut there and each piece is whole weeks and a rest.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
HOURS: Final = 168
DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONDAY: Final = 4 * DAY
_NO_ZONES: Final = {"localtime", "Factory"}
"""Names of the machine's database that are no place on earth, and that ClickHouse does not know."""


@cache
def zones() -> frozenset[str]:
    """The IANA names that may be asked for."""
    return frozenset({*available_timezones(), "UTC"} - _NO_ZONES)


def similar(name: str) -> list[str]:
    """Up to five zones whose names are near to this one, else some that show how they look."""
    by_lower = {zone.lower(): zone for zone in sorted(zones())}
    cities = {zone.rsplit("/", 1)[-1]: by_lower[zone] for zone in by_lower}
    asked = name.lower().replace(" ", "_")
    near = [by_lower[one] for one in difflib.get_close_matches(asked, by_lower, 5)]
    near += [cities[one] for one in difflib.get_close_matches(asked, cities, 5)]
    return list(dict.fromkeys(near))[:5] or ["UTC", "Europe/Berlin", "America/New_York"]


def exposure(start_ms: int, end_ms: int, zone: str) -> list[int]:
    """Milliseconds of [start, end) in each hour of the local week, 168 of them from Monday 0:00 on."""
    found = [0] * HOURS
    for start, end in _pieces(start_ms, end_ms, ZoneInfo(zone)):
        weeks, rest = divmod(end - start, WEEK)
        at = (start - _MONDAY) % WEEK
        for hour in range(HOURS):
            found[hour] += weeks * HOUR
        while rest > 0:
            step = min(rest, HOUR - at % HOUR)
            found[at // HOUR % HOURS] += step
            at, rest = at + step, rest - step
    return found


def _pieces(start_ms: int, end_ms: int, zone: ZoneInfo) -> Iterator[tuple[int, int]]:
    """The pieces of a range with one offset each, in local milliseconds."""
    piece, at, offset = start_ms, start_ms, _offset(start_ms, zone)
    while at < end_ms:
        following = min(at + DAY, end_ms)
        after = _offset(following, zone)
        if after != offset:
            change = _change(at, following, offset, zone)
            yield piece + offset, change + offset
            piece, offset = change, after
        at = following
    yield piece + offset, end_ms + offset


def _change(low: int, high: int, offset: int, zone: ZoneInfo) -> int:
    """The first moment in (low, high] that has another offset."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle, zone) == offset else (low, middle)
    return high


def _offset(ms: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(ms // 1000, UTC).astimezone(zone).utcoffset()
    return int(offset.total_seconds() * 1000) if offset else 0
