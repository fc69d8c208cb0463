"""The shape of the attribution file; `loader` reads it from YAML."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.taxonomy.packfile import ROLES
from schemas.taxonomy.yamlfile import hint


def _role(value: str) -> str:
    if value not in ROLES:
        raise ValueError("is not a known role" + (hint(value, ROLES) or f"; known: {', '.join(ROLES)}"))
    return value


def _rising(edges: tuple[int, ...]) -> tuple[int, ...]:
    if any(after <= before for before, after in pairwise(edges)):
        raise ValueError("must rise from one to the next")
    return edges


Roles = Annotated[tuple[Annotated[str, AfterValidator(_role)], ...], Field(min_length=1)]
Edges = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=50), AfterValidator(_rising)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Touch(_Strict):
    """What counts as a touch: events of these roles, none of them of a holdout."""

    description: Annotated[str, Field(min_length=3, max_length=300)]
    roles: Roles


class ChannelSource(_Strict):
    """Which events tell the channel of a touch that has none, how many days back, and its name where none does."""

    roles: Roles
    days: Annotated[int, Field(ge=1, le=365)]
    unknown: Name


class Span(_Strict):
    """A parameter: its default and what is allowed."""

    default: float
    min: Annotated[float, Field(gt=0)]
    max: float

    @model_validator(mode="after")
    def _ordered(self) -> Span:
        if not self.min <= self.default <= self.max:
            raise ValueError(f"the default {self.default:g} must lie between min {self.min:g} and max {self.max:g}")
        return self


class PositionPercent(_Strict):
    """What the first and the last touch get; the others share the rest."""

    first: Annotated[int, Field(ge=0, le=100)]
    last: Annotated[int, Field(ge=0, le=100)]

    @model_validator(mode="after")
    def _a_whole(self) -> PositionPercent:
        if not 0 < self.first + self.last <= 100:
            raise ValueError("first and last together must be more than 0 and at most 100")
        return self


class Histograms(_Strict):
    """Where the bars begin; the last has no end."""

    touches: Edges
    days: Edges


class Attribution(_Strict):
    """The whole file."""

    touches: Annotated[dict[Name, Touch], Field(min_length=1)]
    default_touch: str
    channel: ChannelSource
    lookback_days: Span
    half_life_days: Span
    position_percent: PositionPercent
    max_touches: Annotated[int, Field(ge=2, le=1000)]
    histograms: Histograms

    @model_validator(mode="after")
    def _default_is_there(self) -> Attribution:
        if self.default_touch not in self.touches:
            raise ValueError(f"default_touch {self.default_touch!r} is none of {', '.join(self.touches)}")
        return self
