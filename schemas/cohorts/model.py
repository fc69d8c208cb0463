"""The shape of `insights.yaml`, and its loader; a fault names file, line and key."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from schemas.taxonomy.yamlfile import conform, read

SHIPPED: Final = Path(__file__).with_name("insights.yaml")
Month = Annotated[int, Field(ge=1, le=12)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LowRetention(_Strict):
    """In `month`, a cohort of whom fewer than `below` percent are left is worth a sentence."""

    month: Month
    below: Annotated[float, Field(gt=0, lt=100)]


class CohortRules(_Strict):
    """Thresholds of insights. `min_users`: fewest users on either side of a comparison."""

    min_users: Annotated[int, Field(ge=2)]
    alpha: Annotated[float, Field(gt=0, lt=1)]
    months: Annotated[tuple[Month, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)]
    low_retention: LowRetention
    max_cohorts: Annotated[int, Field(ge=1, le=1000)]

    @model_validator(mode="after")
    def _ordered(self) -> CohortRules:
        if not self.months or list(self.months) != sorted(set(self.months)):
            raise ValueError("months must be a list of different months, the first one first")
        return self


def load_cohort_rules(path: Path) -> CohortRules:
    """The rules in `path`; raises ConfigError naming file, line and key."""
    return conform(CohortRules, read(path))


@cache
def shipped_cohort_rules() -> CohortRules:
    """The rules that ship with Headrace."""
    return load_cohort_rules(SHIPPED)
