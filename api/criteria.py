"""What a custom segment may ask of a user: ranges and lists, checked, and turned into a condition with bound values.

Ranges include both ends. A user of whom something is not known (no sign-up, no order) is in no range of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from pydantic import Field, ValidationError, field_validator, model_validator

from api.people import ROLES, Part
from api.problems import Problem, invalid
from api.query import Name, Strict
from api.slices import Binder
from schemas.segments import Clusters
from schemas.segments.patterns import PATTERN_IDS
from schemas.taxonomy.pack import Pack
from schemas.wire import MICROS

DAY_MS: Final = 86_400_000
_LARGEST: Final = 1e9


class Range(Strict):
    """From `min` to `max`, both included; one of them may be left out."""

    min: float | None = Field(None, ge=0, le=_LARGEST, allow_inf_nan=False)
    max: float | None = Field(None, ge=0, le=_LARGEST, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


class Values(Strict):
    """A list of values, one of which must be the user's."""

    any_of: list[Name] = Field(min_length=1, max_length=20)

    @field_validator("any_of")
    @classmethod
    def _sorted(cls, values: list[str]) -> list[str]:
        return sorted(set(values))


@dataclass(frozen=True)
class Criterion:
    """One thing to ask. `column`: of `people`; `per`: what one unit of a range is there; a list has none.

    `known`: the condition that the user has it; `age`: a time that is compared by how long ago it is.
    """

    description: str
    column: str
    per: int = 0
    known: str = ""
    age: bool = False
    role: str = "purchase"
    part: Part | None = None

    def known_to(self, pack: Pack) -> bool:
        """Whether a pack declares what this asks."""
        return all(pack.roles.get(role) for role in (ROLES[self.part] if self.part else (self.role,)))

    def condition(self, bind: Binder, value: Range | Values, end_ms: int) -> str:
        """The condition on a row of `people`."""
        if isinstance(value, Values):
            return f"{self.column} IN {bind(value.any_of, 'Array(String)')}"
        what = self.column
        if self.age:
            what = f"{bind(end_ms, 'Int64')} - toUnixTimestamp64Milli({self.column})"
        parts = [self.known] if self.known else []
        if value.min is not None:
            parts.append(f"{what} >= {bind(math.ceil(Fraction(str(value.min)) * self.per), 'Int64')}")
        if value.max is not None:
            parts.append(f"{what} <= {bind(math.floor(Fraction(str(value.max)) * self.per), 'Int64')}")
        return f"({' AND '.join(parts)})"


CRITERIA: Final[Mapping[str, Criterion]] = {
    "ltv": Criterion("What the user paid so far, all orders together, in currency.", "micros", MICROS),
    "orders": Criterion("Orders so far.", "orders", 1),
    "daysSinceSignup": Criterion(
        "Days since the first sign-up.", "signed_at", DAY_MS, "signed_up", age=True, role="signup"
    ),
    "daysSinceLastOrder": Criterion("Days since the last order.", "ordered_at", DAY_MS, "orders > 0", age=True),
    "daysSinceActive": Criterion(
        "Days since the last sign of life.", "active_at", DAY_MS, "seen", age=True, part=Part.ACTIVE
    ),
    "acquisitionChannel": Criterion("Where the user came from, by the first sign-up.", "channel", role="signup"),
    "segment": Criterion("The behaviour pattern.", "segment", role="segment"),
    "rfmCluster": Criterion("The RFM cluster, by its id.", "cluster", part=Part.CLUSTER),
}


@dataclass(frozen=True)
class Criteria:
    """What was asked, all of which must hold."""

    asked: Mapping[str, Range | Values]

    def condition(self, bind: Binder, end_ms: int) -> str:
        """The condition on a row of `people`."""
        return " AND ".join(CRITERIA[name].condition(bind, one, end_ms) for name, one in self.asked.items())

    def parts(self) -> frozenset[Part]:
        """What must be read for it."""
        return frozenset(part for name in self.asked if (part := CRITERIA[name].part))

    def plain(self) -> dict[str, Any]:
        """The criteria as sent, in one spelling: what is equal is written equally."""
        return {name: _plain(self.asked[name]) for name in sorted(self.asked)}


def parse(given: Mapping[str, Any], pack: Pack, clusters: Clusters) -> Criteria:
    """The criteria of a request; raises a 422 problem that names the criterion and lists what is allowed."""
    allowed = [name for name, one in CRITERIA.items() if one.known_to(pack)]
    for name in given:
        if name not in allowed:
            raise invalid(f"criteria.{name[:60]}", "is no criterion here", allowed)
    if not given:
        raise invalid("criteria", "name at least one", allowed)
    return Criteria({name: _one(name, given[name], clusters) for name in sorted(given)})


def _one(name: str, value: Any, clusters: Clusters) -> Range | Values:
    try:
        if CRITERIA[name].per:
            return Range.model_validate(value)
        found = Values.model_validate({"any_of": value})
    except ValidationError as error:
        raise _refused(name, error) from None
    choices = {"segment": PATTERN_IDS, "rfmCluster": tuple(clusters.clusters)}.get(name)
    for one in found.any_of if choices else ():
        if one not in (choices or ()):
            raise invalid(f"criteria.{name}", f"{one[:60]!r} is not known", choices)
    return found


def _refused(name: str, error: ValidationError) -> Problem:
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"] if part != "any_of"]
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if first["type"] == "extra_forbidden":
        return invalid(".".join(["criteria", name, *place]), "is no end of a range", ["min", "max"])
    return invalid(".".join(["criteria", name, *place]), message)


def _plain(value: Range | Values) -> Any:
    if isinstance(value, Values):
        return value.any_of
    ends = {"min": value.min, "max": value.max}
    return {name: int(end) if end.is_integer() else end for name, end in ends.items() if end is not None}
