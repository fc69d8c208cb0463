"""The behaviour patterns: what a user writes in YAML, checked at start, so that a typo refuses to boot."""

from __future__ import annotations

import uuid
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal, get_args
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from schemas.errors import ConfigError
from schemas.taxonomy.pack import Pack
from schemas.taxonomy.packfile import Text
from schemas.taxonomy.yamlfile import conform, hint, read

SHIPPED: Final = Path(__file__).with_name("patterns.yaml")
SEGMENTED: Final = "user_segmented"
UNSEGMENTED: Final = "user_unsegmented"
REFRESHED: Final = "data_refresh_completed"
_NAMESPACE: Final = uuid.UUID("0b0f4c57-9a64-5b0e-bb4b-5d1f3a6c2e10")

PatternId = Literal[
    "HIGH_SPENDER",
    "FREQUENT_SHOPPER",
    "WEEKEND_SHOPPER",
    "CATEGORY_FOCUSED",
    "LOCATION_CLUSTERED",
    "NEW_SHOPPER",
    "INACTIVE",
    "SEASONAL_SPENDER",
]
PATTERN_IDS: Final[tuple[str, ...]] = get_args(PatternId)


def _exact(value: object) -> object:
    """A number as it is written: 0.7 is seven tenths, not the float beside it."""
    return Fraction(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("is no time zone" + hint(name, available_timezones()))
    return name


Number = Annotated[Fraction, BeforeValidator(_exact), Field(gt=0, le=1000)]
Share = Annotated[Fraction, BeforeValidator(_exact), Field(gt=0, lt=1)]
Days = Annotated[int, Field(ge=1, le=365)]
Count = Annotated[int, Field(ge=1, le=1000)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)


class _Pattern(_Strict):
    description: Text


class Top(_Pattern):
    """The `share` of buyers who spent most, where there are `min_buyers`."""

    share: Share
    min_buyers: Count


class PerWeek(_Pattern):
    """So many orders a week, and `min_orders` in all."""

    per_week: Number
    min_orders: Count


class Most(_Pattern):
    """At least this `share` of `min_orders` or more."""

    share: Share
    min_orders: Count


class Places(_Pattern):
    """At most so many `places` among `min_orders` or more."""

    places: Count
    min_orders: Count


class Since(_Pattern):
    """Less, or more, than so many `days` ago."""

    days: Days


class Peak(_Pattern):
    """So many `times` the average period in the best one; `period_days` divides the window."""

    times: Annotated[Fraction, BeforeValidator(_exact), Field(gt=1, le=100)]
    period_days: Days
    min_orders: Count


class Rules(_Strict):
    """All eight, by their names in the taxonomy."""

    HIGH_SPENDER: Top
    FREQUENT_SHOPPER: PerWeek
    WEEKEND_SHOPPER: Most
    CATEGORY_FOCUSED: Most
    LOCATION_CLUSTERED: Places
    NEW_SHOPPER: Since
    INACTIVE: Since
    SEASONAL_SPENDER: Peak


class Source(_Strict):
    """Where an order has a text: in a `property` of its event, or in its `context`; exactly one of the two."""

    property: str | None = None
    context: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Source:
        if (self.property is None) == (self.context is None):
            raise ValueError("name either a property or a context")
        return self

    def place(self) -> tuple[str, str]:
        """The column of `events` that holds the JSON, and the key in it."""
        return ("properties", self.property) if self.property is not None else ("context", str(self.context))

    def known_to(self, pack: Pack) -> bool:
        """Whether the pack declares it, for every event of the role `purchase`."""
        events = [pack.events[ref.event_type] for ref in pack.roles.get("purchase", ())]
        if self.property is None:
            return self.context in pack.context
        return bool(events) and all(self.property in event.properties for event in events)


class Patterns(_Strict):
    """The file. `precedence`: every pattern once, the strongest first."""

    window_days: Days
    time_zone: Annotated[str, AfterValidator(_zone)]
    most_users: Annotated[int, Field(ge=1, le=10_000_000)]
    category: Source
    location: Source
    precedence: list[PatternId]
    patterns: Rules

    @model_validator(mode="after")
    def _consistent(self) -> Patterns:
        if sorted(self.precedence) != sorted(PATTERN_IDS):
            raise ValueError(f"precedence must name each pattern once: {', '.join(PATTERN_IDS)}")
        if self.window_days % self.patterns.SEASONAL_SPENDER.period_days:
            raise ValueError("SEASONAL_SPENDER.period_days must divide window_days")
        return self

    def sources(self, pack: Pack) -> tuple[Source | None, Source | None]:
        """Category and location as far as the pack declares them."""
        category, location = (one if one.known_to(pack) else None for one in (self.category, self.location))
        return category, location

    def unassignable(self, pack: Pack) -> dict[str, str]:
        """Patterns that nobody can be given under this pack, with the reason."""
        missing = dict(zip(("CATEGORY_FOCUSED", "LOCATION_CLUSTERED"), self.sources(pack), strict=True))
        return {
            name: f"the pack {pack.name!r} does not say where an order has its {what}"
            for (name, source), what in zip(missing.items(), ("category", "location"), strict=True)
            if source is None
        }


def load_patterns(path: Path) -> Patterns:
    """The patterns in `path`; raises ConfigError naming file, line and key."""
    return conform(Patterns, read(path))


@cache
def shipped_patterns() -> Patterns:
    """The patterns that ship with Headrace."""
    return load_patterns(SHIPPED)


def segments_users(pack: Pack) -> bool:
    """Whether the pack declares what the round needs, and names the patterns as this file does.

    Raises ConfigError when it has segments of other names: they would be refused at the pipeline's own door.
    """
    roles = ("purchase", "signup", "segment")
    if not all(pack.roles.get(role) for role in roles) or SEGMENTED not in pack.events:
        return False
    column = pack.events[SEGMENTED].column("segment")
    unknown = sorted(set(PATTERN_IDS) - set(column.enum if column else ()))
    if unknown:
        text = f"{SEGMENTED} cannot name the patterns {', '.join(unknown)}; add them to its enum"
        raise ConfigError(text, file=pack.file, key=f"events.{SEGMENTED}")
    return True


def pattern_uuid(name: str) -> str:
    """The UUID of a pattern, the same in every installation."""
    return str(uuid.uuid5(_NAMESPACE, name))
