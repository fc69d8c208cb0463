"""The shape of a declared funnel; `loader` reads it from YAML, `resolve` finds its events in a pack."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from schemas.taxonomy.packfile import Duration, Name

MOST_STEPS: Final = 10
MOST_WINDOW: Final = 366 * 86_400.0
RESERVED: Final = frozenset({"custom", "previous_period"})
"""What the API calls a funnel that nobody declared, and a comparison with the time before."""


def _bounded(seconds: float) -> float:
    if not 1 <= seconds <= MOST_WINDOW:
        raise ValueError("must lie between 1s and 366d")
    return seconds


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Source = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}(:[A-Za-z0-9_]{1,64})?$")]
"""A role of the pack, an event type, or `type:subtype`."""
Window = Annotated[Duration, AfterValidator(_bounded)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Step(_Strict):
    """One step. An event is one of it when any of `events` names it."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    events: Annotated[tuple[Source, ...], BeforeValidator(_tuple), Field(min_length=1, max_length=20)]


class Funnel(_Strict):
    """Steps in order. `window`: seconds here, `7d` in the file, from the first step to the last at most."""

    id: Name
    aliases: Annotated[tuple[Name, ...], BeforeValidator(_tuple)] = ()
    name: Annotated[str, Field(min_length=1, max_length=80)]
    description: Annotated[str, Field(min_length=1, max_length=600)]
    window: Window
    steps: Annotated[tuple[Step, ...], BeforeValidator(_tuple), Field(min_length=2, max_length=MOST_STEPS)]


class Funnels(_Strict):
    """All funnels, in reading order. `pack`: the pack whose words they are written in; others may know them too."""

    pack: Name
    funnels: Annotated[tuple[Funnel, ...], BeforeValidator(_tuple), Field(min_length=1, max_length=200)]

    @model_validator(mode="after")
    def _unique(self) -> Funnels:
        seen = set(RESERVED)
        for funnel in self.funnels:
            for name in (funnel.id, *funnel.aliases):
                if name in seen:
                    taken = "is taken" if name in RESERVED else "stands twice"
                    raise ValueError(f"the funnel id {name!r} {taken}")
                seen.add(name)
        return self

    def find(self, funnel_id: str) -> Funnel | None:
        """The funnel of this id or alias, or None."""
        return next((f for f in self.funnels if funnel_id == f.id or funnel_id in f.aliases), None)
