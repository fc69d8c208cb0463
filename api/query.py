"""Query parameters, validated: a typo, a reversed range or a split that makes no sense is refused, never ignored."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from api.comparison import Against
from api.problems import invalid
from api.settings import ApiSettings
from api.slices import Interval, Slice, buckets
from api.times import parse
from schemas.metrics import Dimension, Metric

_DAY: Final = 86_400_000
MOST_METRICS: Final = 25
Name = Annotated[str, Field(max_length=200)]
Moment = Annotated[
    str,
    Field(
        min_length=1,
        max_length=40,
        description="ISO 8601, or relative such as -24h (s, m, h, d, w), or now.",
        examples=["-24h"],
    ),
]


class Strict(BaseModel):
    """Query models refuse what they do not know."""

    model_config = ConfigDict(extra="forbid")


class Empty(Strict):
    """No parameters."""


class RangeQuery(Strict):
    """A range of time, `[start, end)`."""

    start: Moment | None = None
    end: Moment | None = None

    def range(self, now_ms: int, default_ms: int, settings: ApiSettings) -> tuple[int, int]:
        """Milliseconds; without a start the `default_ms` before the end, without an end until now."""
        return bounds(("start", self.start), ("end", self.end), now_ms, default_ms, settings)


class SpecRangeQuery(RangeQuery):
    """The same, also under the names of the specification."""

    startDate: Moment | None = None
    endDate: Moment | None = None

    def range(self, now_ms: int, default_ms: int, settings: ApiSettings) -> tuple[int, int]:
        """As of `RangeQuery`."""
        start, end = self._given("start", "startDate"), self._given("end", "endDate")
        return bounds(start, end, now_ms, default_ms, settings)

    def _given(self, ours: str, theirs: str) -> tuple[str, str | None]:
        """A moment under the name that was used for it."""
        return (ours if getattr(self, theirs) is None else theirs), self.either(ours, theirs)

    def either(self, ours: str, theirs: str) -> Any:
        """The value of a parameter that has two names; raises a 422 problem when both are given."""
        mine, given = getattr(self, ours), getattr(self, theirs)
        if mine is not None and given is not None:
            raise invalid(theirs, f"is another name of {ours}; give one of them")
        return given if mine is None else mine


class PipelineQuery(RangeQuery):
    """`GET /pipeline`."""

    interval: Annotated[Interval | None, Field(description="minute adds a series; nothing else is kept.")] = None


class MetricQuery(RangeQuery):
    """`GET /metrics/{metric_id}`."""

    campaign_id: Name | None = None
    creative_id: Name | None = None
    segment: Name | None = None
    channel: Name | None = None
    event_type: Name | None = None
    group_by: Dimension | None = None
    interval: Interval | None = None
    compare: Annotated[Against | None, Field(description="An earlier period beside it, and what changed.")] = None
    limit: Annotated[int, Field(ge=1, le=100_000, description="Most groups to answer.")] = 100

    def slice(self, metric: Metric, tenant: str, now_ms: int, settings: ApiSettings) -> Slice:
        """What is asked of `metric`; raises a 422 problem for what cannot be asked of it."""
        start, end = self.range(now_ms, metric.window_seconds * 1000, settings)
        filters = {d: value for d in Dimension if (value := getattr(self, d.value)) is not None}
        for dimension in (*filters, *([self.group_by] if self.group_by else ())):
            if dimension not in metric.dimensions:
                field = "group_by" if dimension is self.group_by else dimension.value
                message = f"{metric.id} is not known by {dimension}"
                raise invalid(field, message, [d.value for d in metric.dimensions])
        if self.interval and buckets(self.interval, start, end, settings.max_buckets) is None:
            wider = [i.value for i in Interval if buckets(i, start, end, settings.max_buckets) is not None]
            raise invalid("interval", f"gives more than {settings.max_buckets} points for this range", wider)
        return Slice(tenant, start, end, filters, self.group_by, self.interval, now_ms)


class MetricsQuery(MetricQuery):
    """`GET /query`: the same question of several metrics."""

    metrics: Annotated[
        str,
        Field(max_length=1000, description="Ids of metrics, separated by commas.", examples=["roas,ctr,revenue"]),
    ]

    @property
    def ids(self) -> list[str]:
        """The metrics that are asked for, each once; raises a 422 problem for none or too many."""
        found = list(dict.fromkeys(part.strip() for part in self.metrics.split(",") if part.strip()))
        if not 0 < len(found) <= MOST_METRICS:
            raise invalid("metrics", f"name 1 to {MOST_METRICS} metrics")
        return found


class PageQuery(Strict):
    """A page of a list."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0


def choices(field: str, given: list[str], allowed: tuple[str, ...]) -> list[str]:
    """The values of a parameter that may be repeated or comma-separated; raises a 422 problem for an unknown one."""
    found = [part.strip() for value in given for part in value.split(",") if part.strip()]
    for value in found:
        if value not in allowed:
            raise invalid(field, f"{value[:60]!r} is not known", allowed)
    return found


def bounds(
    start: tuple[str, str | None], end: tuple[str, str | None], now_ms: int, default_ms: int, settings: ApiSettings
) -> tuple[int, int]:
    """The milliseconds of a range by its two parameters, each with its name; raises a 422 problem that names one."""
    (first, begins), (last, ends) = start, end
    until = now_ms if ends is None else moment(last, ends, now_ms)
    since = until - default_ms if begins is None else moment(first, begins, now_ms)
    if since >= until:
        raise invalid(first, "must lie before the end")
    if until - since > settings.max_range_days * _DAY:
        raise invalid(first, f"the range may span at most {settings.max_range_days} days")
    return since, until


def moment(field: str, text: str, now_ms: int) -> int:
    """Milliseconds of a moment; raises a 422 problem that names the field."""
    try:
        return parse(text, now_ms)
    except ValueError as error:
        raise invalid(field, str(error)) from None
