"""What a funnel is asked by: parameters in, a question out, or a 422 problem for what cannot be asked.

Names of the specification (`funnelType`, `segmentBy`, `startDate`, `endDate`) and ours are both accepted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from api.context import Caller, Context
from api.funnels.answer import Named
from api.funnels.rows import FunnelQuestion
from api.problems import invalid
from api.query import Name, SpecRangeQuery
from api.slices import Filter
from schemas.funnels import MOST_STEPS, MOST_WINDOW, Funnel, refs_of, steps_known
from schemas.metrics import Dimension
from schemas.taxonomy.pack import EventRef, Pack

_DAY_MS: Final = 86_400_000
_RANGE_MS: Final = 30 * _DAY_MS
_CUSTOM_WINDOW_MS: Final = 7 * _DAY_MS
_UNITS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": _DAY_MS, "w": 7 * _DAY_MS}
_PREVIOUS: Final = "previous_period"


class SegmentBy(StrEnum):
    """What a funnel can be split by, as it is at the entry; acquisition_channel is the channel of a sign-up."""

    CAMPAIGN = "campaign_id"
    SEGMENT = "segment"
    CHANNEL = "channel"
    ACQUISITION_CHANNEL = "acquisition_channel"

    @property
    def dimension(self) -> Dimension:
        """The column that holds it."""
        return Dimension.CHANNEL if self is SegmentBy.ACQUISITION_CHANNEL else Dimension(self.value)


Places = Annotated[
    str, Field(max_length=1000, description="Instead of funnel: 2 to 10 roles, event types or type:subtype, by commas.")
]
Window = Annotated[str, Field(max_length=10, description="From entry to last step at most: 90m, 24h, 7d, 2w.")]


class FunnelQuery(SpecRangeQuery):
    """`GET /funnel`."""

    funnel: Name | None = None
    funnelType: Name | None = None
    steps: Places | None = None
    window: Window | None = None
    campaign_id: Name | None = None
    segment: Name | None = None
    channel: Name | None = None
    segment_by: SegmentBy | None = None
    segmentBy: SegmentBy | None = None
    limit: Annotated[int, Field(ge=1, le=1000, description="Most segments to answer.")] = 20
    compare: Annotated[str, Field(max_length=64, description="Another funnel, or previous_period.")] | None = None
    compare_campaign_id: Name | None = None
    compare_segment: Name | None = None

    def asked(self, ctx: Context, who: Caller) -> tuple[Named, Named | None]:
        """The question, and the one to put beside it."""
        now = ctx.now_ms()
        named = self._named(self._funnel(ctx, who.pack), who.pack)
        start, end = self.range(now, _RANGE_MS, ctx.settings)
        filters = {d: value for d in Dimension if (value := getattr(self, d.value, None)) is not None}
        split: SegmentBy | None = self.either("segment_by", "segmentBy")
        asked = replace(
            named.asked, tenant=who.tenant, start_ms=start, end_ms=end, known_ms=now, filters=filters, limit=self.limit,
            split=split.dimension if split else None,
        )  # fmt: skip
        if split:
            _check_split(split, asked)
        return _checked(replace(named, asked=asked)), self._beside(ctx, replace(named, asked=asked))

    def _funnel(self, ctx: Context, pack: Pack) -> Funnel | None:
        """The funnel that is named, else the first that the pack knows; None with `steps`."""
        wanted = self.either("funnel", "funnelType")
        field = "funnel" if self.funnel is not None else "funnelType"
        if self.steps is not None:
            if wanted is not None:
                raise invalid("steps", f"is given instead of {field}, not beside it")
            return None
        return _declared(ctx, pack, field, wanted)

    def _named(self, funnel: Funnel | None, pack: Pack) -> Named:
        if funnel is None:
            names = tuple(part.strip() for part in (self.steps or "").split(","))
            id_, name, window = "custom", "Custom", _CUSTOM_WINDOW_MS
            steps = _custom(names, pack)
        else:
            id_, name, window = funnel.id, funnel.name, int(funnel.window * 1000)
            names = tuple(step.name for step in funnel.steps)
            steps = tuple(tuple(r for source in s.events for r in refs_of(source, pack)) for s in funnel.steps)
        window = _milliseconds(self.window) if self.window is not None else window
        return Named(id_, name, names, FunnelQuestion("", pack, steps, 0, 0, window, 0))

    def _beside(self, ctx: Context, named: Named) -> Named | None:
        given = [n for n in ("compare", "compare_campaign_id", "compare_segment") if getattr(self, n) is not None]
        if not given:
            return None
        if len(given) > 1:
            raise invalid(given[1], f"is one comparison too many beside {given[0]}")
        asked = named.asked
        if self.compare == _PREVIOUS:
            earlier = 2 * asked.start_ms - asked.end_ms
            return replace(named, asked=replace(asked, start_ms=earlier, end_ms=asked.start_ms))
        if self.compare is not None:
            other = self._named(_declared(ctx, asked.pack, "compare", self.compare, _PREVIOUS), asked.pack)
            window, steps = other.asked.window_ms, other.asked.steps
            return _checked(replace(other, asked=replace(asked, steps=steps, window_ms=window)))
        dimension = Dimension(given[0].removeprefix("compare_"))
        filters: Mapping[Dimension, Filter] = {**asked.filters, dimension: getattr(self, given[0])}
        return _checked(replace(named, asked=replace(asked, filters=filters)), "compare_")


def _declared(ctx: Context, pack: Pack, field: str, wanted: str | None, *more: str) -> Funnel:
    possible = [funnel for funnel in ctx.funnels.funnels if steps_known(funnel, pack)]
    if wanted is None and possible:
        return possible[0]
    found = ctx.funnels.find(wanted or "")
    names = [*(funnel.id for funnel in possible), *more]
    if found is None:
        raise invalid(field, f"{(wanted or '')[:64]!r} is no declared funnel; steps asks for any other", names)
    if found not in possible:
        raise invalid(field, f"the pack {pack.name} does not declare every step of {found.id}", names)
    return found


def _custom(names: tuple[str, ...], pack: Pack) -> tuple[tuple[EventRef, ...], ...]:
    if not 2 <= len(names) <= MOST_STEPS:
        raise invalid("steps", f"must be 2 to {MOST_STEPS} names, by commas")
    for name in names:
        if not refs_of(name, pack):
            known = [*(role for role, refs in pack.roles.items() if refs), *pack.events]
            raise invalid("steps", f"{name[:100]!r} is no role, event type or type:subtype of the pack", known)
    return tuple(refs_of(name, pack) for name in names)


def _milliseconds(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,7})([smhdw])", text)
    ms = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < ms <= MOST_WINDOW * 1000:
        raise invalid("window", "must be such as 90m, 24h, 7d or 2w, and at most 366d")
    return ms


def _checked(named: Named, prefix: str = "") -> Named:
    for dimension in named.asked.filters:
        _check_entry(prefix + dimension.value, dimension, named.asked)
    return named


def _check_split(split: SegmentBy, asked: FunnelQuestion) -> None:
    field = "segment_by"
    _check_entry(field, split.dimension, asked)
    if split is SegmentBy.ACQUISITION_CHANNEL and not set(asked.steps[0]) <= set(asked.pack.roles.get("signup", ())):
        raise invalid(field, "acquisition_channel is known of funnels that begin with the sign-up")


def _check_entry(field: str, dimension: Dimension, asked: FunnelQuestion) -> None:
    """Refuse a dimension that no event of the first step can carry: the answer would be nobody, whatever happened."""
    pack, first = asked.pack, asked.steps[0]
    column = dimension.value
    in_context = any(prop.column == column for prop in pack.context.values())
    if not in_context and not any(pack.events[ref.event_type].column(column) for ref in first):
        types = ", ".join(sorted({ref.event_type for ref in first}))
        raise invalid(field, f"the first step ({types}) carries no {column}")
