"""The shape of a KPI's declaration; `loader` reads it from YAML, `api.kpis` computes what it names."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class Unit(StrEnum):
    """What a value counts. Percent and score: 0 to 100; ratio: a plain quotient; currency: the tenant's own money."""

    COUNT = "count"
    PERCENT = "percent"
    RATIO = "ratio"
    CURRENCY = "currency"
    MINUTES = "minutes"
    SCORE = "score"


def _one_line(text: str) -> str:
    return " ".join(text.split())


Text = Annotated[str, AfterValidator(_one_line), Field(min_length=3, max_length=600)]
KpiId = Annotated[str, Field(pattern=r"^[a-z][a-zA-Z_]{1,40}$")]
Fact = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Strict):
    """A part of a score: 100 points where the KPI reaches `full`, in its own unit, and in proportion below."""

    kpi: KpiId
    full: Annotated[float, Field(gt=0)]
    weight: Annotated[int, Field(gt=0, le=100)]


class Kpi(_Strict):
    """One KPI: a fact that `api.kpi_facts` reads, or one divided by another; a score has `parts` instead.

    `reading`: how our reading differs from the specification, or why it was chosen.
    """

    id: KpiId
    name: Text
    unit: Unit
    definition: Text
    formula: Text
    numerator: Fact | None = None
    denominator: Fact | None = None
    parts: tuple[Part, ...] = ()
    reading: Annotated[str, AfterValidator(_one_line)] = ""

    @model_validator(mode="after")
    def _consistent(self) -> Kpi:
        if (self.unit is Unit.SCORE) != bool(self.parts) or bool(self.parts) == (self.numerator is not None):
            raise ValueError("a score has parts and nothing else has; everything else has a numerator")
        if self.parts and sum(part.weight for part in self.parts) != 100:
            raise ValueError(
                f"the weights of the parts add up to {sum(part.weight for part in self.parts)}, not to 100"
            )
        if self.unit in (Unit.PERCENT, Unit.RATIO) and self.denominator is None:
            raise ValueError(f"a {self.unit} needs a denominator")
        return self


class Kpis(_Strict):
    """All KPIs, in reading order."""

    kpis: tuple[Kpi, ...]

    @model_validator(mode="after")
    def _named(self) -> Kpis:
        ids = [kpi.id for kpi in self.kpis]
        for name in ids:
            if ids.count(name) > 1:
                raise ValueError(f"the KPI {name!r} stands twice")
        plain = {kpi.id for kpi in self.kpis if not kpi.parts}
        for part in (part for kpi in self.kpis for part in kpi.parts):
            if part.kpi not in plain:
                raise ValueError(f"a part names {part.kpi!r}, which is no KPI with a numerator")
        return self
