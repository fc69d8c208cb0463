"""The shape of a metric dictionary entry; `loader` reads it from YAML, readers compute what it names."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class Unit(StrEnum):
    """What a value counts. Percent: 0 to 100; ratio: a plain quotient; currency: the tenant's own money; months: money
    over money a year, in months."""

    PERCENT = "percent"
    RATIO = "ratio"
    CURRENCY = "currency"
    COUNT = "count"
    HOURS = "hours"
    SECONDS = "seconds"
    MONTHS = "months"

    @property
    def scale(self) -> int:
        """What a quotient is multiplied with."""
        return {Unit.PERCENT: 100, Unit.MONTHS: 12}.get(self, 1)


class Dimension(StrEnum):
    """What a metric can be filtered by and split into; each is a column of `events`."""

    CAMPAIGN = "campaign_id"
    CREATIVE = "creative_id"
    SEGMENT = "segment"
    CHANNEL = "channel"
    EVENT_TYPE = "event_type"


class Kind(StrEnum):
    """How a value comes about: two measures divided, treated users compared with those held out, the value that a share
    of many observations does not exceed, what a model was worth when it was judged last, how the API itself did, or how
    far attribution models disagree."""

    QUOTIENT = "quotient"
    EXPERIMENT = "experiment"
    DISTRIBUTION = "distribution"
    EVALUATION = "evaluation"
    OPERATION = "operation"
    ATTRIBUTION = "attribution"


class Priority(StrEnum):
    P0 = "P0"
    P1 = "P1"
    P2 = "P2"


def _one_line(text: str) -> str:
    return " ".join(text.split())


Text = Annotated[str, AfterValidator(_one_line), Field(min_length=3, max_length=600)]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Healthy(_Strict):
    """The range that needs no attention, in the metric's unit; an open end is None."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Healthy:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Measures(_Strict):
    """What is divided by what: ids of measures that the query builder of `api` knows. Counts have no denominator."""

    numerator: Identifier
    denominator: Identifier | None = None


class Metric(_Strict):
    """One entry of the dictionary.

    `window`: the range that is read when the caller names none (`24h`, `7d`). `by_campaign`: the measures that replace
    the plain ones when the metric is filtered by or split into campaigns or creatives, because then it asks about the
    campaign's own orders. Of an experiment the measures only have names, for readers; of a distribution the numerator
    is what is observed, `quantile` the share that its value covers, and `buckets` the upper ends of its histogram.
    `live`: whether the live page moves with it; what changes by the week does not. `reading`: how our reading differs
    from the specification, or why it was chosen.
    """

    id: Identifier
    aliases: tuple[Identifier, ...] = ()
    name: Text
    definition: Text
    formula: Text
    unit: Unit
    kind: Kind = Kind.QUOTIENT
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = None
    buckets: tuple[Annotated[float, Field(gt=0)], ...] = ()
    owner: Text
    refresh: Text
    priority: Priority
    healthy: Healthy = Healthy()
    target: float | None = None
    measures: Measures
    by_campaign: Measures | None = None
    live: bool = True
    dimensions: tuple[Dimension, ...] = ()
    window: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}[hd]$")]
    reading: Annotated[str, AfterValidator(_one_line)] = ""

    @model_validator(mode="after")
    def _consistent(self) -> Metric:
        quotient = self.unit in (Unit.PERCENT, Unit.RATIO, Unit.MONTHS)
        if quotient and self.measures.denominator is None and self.kind is not Kind.EVALUATION:
            raise ValueError(f"a {self.unit} needs measures.denominator")
        if self.kind is not Kind.QUOTIENT and self.live:
            raise ValueError(f"a metric of the kind {self.kind} is not live: its answer is for the end of a range")
        if (self.kind is Kind.DISTRIBUTION) != (self.quantile is not None):
            raise ValueError("quantile says which value of a distribution is meant, and of nothing else")
        if (self.kind is Kind.DISTRIBUTION) != bool(self.buckets) or list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError("buckets are the rising upper ends of a distribution's histogram, and of nothing else")
        if self.by_campaign and (self.by_campaign.denominator is None) != (self.measures.denominator is None):
            raise ValueError("by_campaign must have a denominator exactly when measures has one")
        return self

    @property
    def window_seconds(self) -> int:
        """The default range in seconds."""
        return int(self.window[:-1]) * (3600 if self.window[-1] == "h" else 86400)


class Dictionary(_Strict):
    """All metrics, in reading order."""

    metrics: tuple[Metric, ...]

    @model_validator(mode="after")
    def _unique(self) -> Dictionary:
        seen: set[str] = set()
        for metric in self.metrics:
            for name in (metric.id, *metric.aliases):
                if name in seen:
                    raise ValueError(f"the metric id {name!r} stands twice")
                seen.add(name)
        return self

    def find(self, metric_id: str) -> Metric | None:
        """The metric of this id or alias, or None."""
        return next((m for m in self.metrics if metric_id == m.id or metric_id in m.aliases), None)
