"""What was asked: a tenant, a range of event time, filters, a split and an interval. Times: Unix milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from schemas.metrics import Dimension

DAY_MS: Final = 86_400_000
MONTH_MS: Final = 30 * DAY_MS
"""A month of a user's own, from the sign-up on."""
MOST_MONTHS: Final = 12
"""The last of these that anybody asks for, counted from 0."""
BEGINNING: Final = -2_208_988_800_000
"""1900-01-01, where DateTime64 begins, in milliseconds: no event is older."""
_LAST_DAY: Final = 0xFFFF
_MONDAY: Final = 4 * DAY_MS
"""1970-01-05, the first Monday, in milliseconds."""

Pieces = tuple[tuple[int, int], ...]
"""Parts of a range, in order: start and end in ms, without the end."""


class Interval(StrEnum):
    """The width of one point of a series; weeks begin on Monday, all in UTC."""

    MINUTE = "minute"
    FIVE_MINUTES = "5m"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_WIDTHS: Final[Mapping[Interval, int]] = {
    Interval.MINUTE: 60_000,
    Interval.FIVE_MINUTES: 300_000,
    Interval.HOUR: 3_600_000,
    Interval.DAY: 86_400_000,
    Interval.WEEK: 7 * 86_400_000,
}


@dataclass(frozen=True)
class Members:
    """A filter by who somebody is: users of a custom segment. `users`: gives the SELECT of their `user_id`."""

    id: str
    users: Callable[[Binder], str]

    def __str__(self) -> str:
        return self.id


Filter = str | Members
"""What a dimension is filtered by: a value of its column, or the members of a segment."""


@dataclass(frozen=True)
class Slice:
    """One question. The range holds `start_ms` and not `end_ms`; a filter is equality on a dimension, or membership.

    `known_ms`: the moment it is asked at. Cohorts are chosen by the range and followed beyond its end, up to there.
    `pieces`: the parts of the range that are to be read, where the rest is known already; None for all of it.
    """

    tenant: str
    start_ms: int
    end_ms: int
    filters: Mapping[Dimension, Filter]
    group_by: Dimension | None = None
    interval: Interval | None = None
    known_ms: int | None = None
    pieces: Pieces | None = None

    @property
    def followed_ms(self) -> int:
        """Up to when a cohort is followed: what lies in the future of the question is not known."""
        return self.end_ms if self.known_ms is None else self.known_ms

    def without_split(self) -> Slice:
        """The same question over all groups together."""
        return replace(self, group_by=None)

    @property
    def touches_campaigns(self) -> bool:
        """Whether a filter names a campaign or a creative."""
        return Dimension.CAMPAIGN in self.filters or Dimension.CREATIVE in self.filters


class Binder:
    """Collects values for `{name:Type}` places, so that no value ever becomes part of a statement."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}

    def __call__(self, value: Any, kind: str = "String") -> str:
        """A place that will hold `value`; `kind` is its ClickHouse type."""
        name = f"p{len(self.params)}"
        self.params[name] = value
        return f"{{{name}:{kind}}}"

    def time(self, ms: int) -> str:
        """A place for a moment, comparable with the DateTime64 columns."""
        return f"fromUnixTimestamp64Milli({self(ms, 'Int64')}, 'UTC')"

    def since(self, ms: int) -> str:
        """The condition that rows shaped like `events` are not older.

        It names the day as well, by which `events` is ordered within a type: of a time alone, whole months are read.
        """
        return f"timestamp >= {self.time(ms)} AND toDate(timestamp) >= toDate({self(day_number(ms), 'UInt16')})"

    def before(self, ms: int) -> str:
        """The condition that rows shaped like `events` are older; it names the day, see `since`."""
        return f"timestamp < {self.time(ms)} AND toDate(timestamp) <= toDate({self(day_number(ms - 1), 'UInt16')})"

    def within(self, start_ms: int, end_ms: int) -> str:
        """The condition that rows shaped like `events` lie in [start, end); it names the days, see `since`."""
        return f"{self.since(start_ms)} AND {self.before(end_ms)}"


def day_number(ms: int) -> int:
    """The UTC day that holds `ms`, as ClickHouse's Date counts: since 1970, before which no event lies, to 2149."""
    return min(max(ms // DAY_MS, 0), _LAST_DAY)


def filter_where(bind: Binder, dimension: Dimension, value: Filter, of: str = "") -> str:
    """The condition of one filter; `of`: the alias of the rows. Dimensions are an enum, so the names are ours."""
    if isinstance(value, Members):
        return f"{of}user_id IN ({value.users(bind)})"
    return f"{of}{dimension.value} = {bind(value)}"


def filter_columns(filters: Mapping[Dimension, Filter]) -> Iterable[str]:
    """The columns that filters look at."""
    return ("user_id" if isinstance(value, Members) else dimension.value for dimension, value in filters.items())


def floor(interval: Interval, ms: int) -> int:
    """The start of the point that holds `ms`."""
    if interval is Interval.MONTH:
        moment = datetime.fromtimestamp(ms // 1000, UTC)
        return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) * 1000
    offset = _MONDAY if interval is Interval.WEEK else 0
    width = _WIDTHS[interval]
    return (ms - offset) // width * width + offset


def following(interval: Interval, start: int) -> int:
    """The start of the point after the one that starts at `start`."""
    if interval is Interval.MONTH:
        return floor(interval, start + 32 * 86_400_000)
    return start + _WIDTHS[interval]


def buckets(interval: Interval, start_ms: int, end_ms: int, most: int) -> list[int] | None:
    """The starts of all points of a range, or None when there are more than `most`."""
    found: list[int] = []
    at = floor(interval, start_ms)
    while at < end_ms:
        if len(found) == most:
            return None
        found.append(at)
        at = following(interval, at)
    return found


def bucket_sql(interval: Interval, column: str = "timestamp") -> str:
    """`floor` in SQL."""
    if interval is Interval.MONTH:
        return f"toInt64(toUnixTimestamp(toDateTime(toStartOfMonth({column}), 'UTC'))) * 1000"
    offset = _MONDAY if interval is Interval.WEEK else 0
    width = _WIDTHS[interval]
    ms = f"toUnixTimestamp64Milli({column})"
    return f"{ms} - positiveModulo({ms} - {offset}, {width})"


def following_sql(interval: Interval, start: str) -> str:
    """`following` in SQL: the start, in ms, of the point after the one that starts at `start` (an expression, ms)."""
    if interval is Interval.MONTH:
        return f"toInt64(toUnixTimestamp(addMonths(toDateTime(intDiv({start}, 1000), 'UTC'), 1))) * 1000"
    return f"{start} + {_WIDTHS[interval]}"
