"""Weights, full marks and categories of customer health: the shape of `health.yaml`, and its loader."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.taxonomy.yamlfile import conform, read

SHIPPED = Path(__file__).with_name("health.yaml")
Weight = Annotated[int, Field(gt=0, le=100)]
Days = Annotated[int, Field(ge=1, le=3650)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Recency(_Strict):
    """100 points up to `full_days` since the last activity, 0 from `zero_days` on, a straight line between."""

    weight: Weight
    full_days: Days
    zero_days: Days

    @model_validator(mode="after")
    def _falling(self) -> Recency:
        if self.full_days >= self.zero_days:
            raise ValueError("full_days must be less than zero_days")
        return self


class Frequency(_Strict):
    """Active days of the last `days` by those of the `days` before; as many or more are 100 points."""

    weight: Weight
    days: Days


class Monetary(_Strict):
    """What was paid in the last `days`; `full`, in the tenant's currency, gives 100 points."""

    weight: Weight
    days: Days
    full: Annotated[int, Field(gt=0, le=1_000_000_000)]


class Breadth(_Strict):
    """Different kinds of activity, by event type, in the last `days`; `full` of them give 100 points."""

    weight: Weight
    days: Days
    full: Annotated[int, Field(gt=0, le=100)]


class Loyalty(_Strict):
    """Points of who opted out in the last `days`: of some messages, or of all. Without, 100."""

    weight: Weight
    days: Days
    some: Annotated[int, Field(ge=0, le=100)]
    all: Annotated[int, Field(ge=0, le=100)]


class Category(_Strict):
    """A category begins at this score."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z_]{1,20}$")]
    from_score: Annotated[int, Field(ge=0, le=100)]


class Health(_Strict):
    """The whole declaration. `customer_days`: who was active in so many days before a moment is a customer then.

    `categories`: from the best down. `trend_days`: how long ago the trend of one customer looks. `drop`: who fell.
    """

    customer_days: Days
    recency: Recency
    frequency: Frequency
    monetary: Monetary
    breadth: Breadth
    loyalty: Loyalty
    categories: Annotated[tuple[Category, ...], Field(min_length=2)]
    trend_days: Annotated[tuple[Days, ...], Field(min_length=1, max_length=12)]
    drop_days: Days
    drop_points: Annotated[int, Field(gt=0, le=100)]

    @property
    def weights(self) -> dict[str, int]:
        """The weight of each part, in the order in which they are shown."""
        return {name: getattr(self, name).weight for name in PARTS}

    @property
    def longest_days(self) -> int:
        """How far back events can matter, from the moment of the score."""
        windows = (2 * self.frequency.days, self.monetary.days, self.breadth.days, self.loyalty.days)
        return max(self.customer_days, *windows)

    @model_validator(mode="after")
    def _consistent(self) -> Health:
        if sum(self.weights.values()) != 100:
            raise ValueError(f"the weights of the parts add up to {sum(self.weights.values())}, not to 100")
        bounds = [category.from_score for category in self.categories]
        if bounds != sorted(set(bounds), reverse=True) or bounds[-1] != 0:
            raise ValueError("categories fall, and the last begins at 0")
        return self


PARTS = ("recency", "frequency", "monetary", "breadth", "loyalty")


def load_health(path: Path) -> Health:
    """The declaration in `path`; raises ConfigError naming file, line and key."""
    return conform(Health, read(path))


@cache
def shipped_health() -> Health:
    """The declaration that ships with Headrace."""
    return load_health(SHIPPED)
