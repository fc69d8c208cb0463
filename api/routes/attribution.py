"""`GET /attribution`: what each channel or campaign is credited with, by every model side by side."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field

from api.attribution.answer import attribution
from api.attribution.asked import DAY_MS, Asked, By
from api.attribution.models import MODELS
from api.context import Ctx, Who
from api.members import with_members
from api.problems import invalid
from api.query import Name, RangeQuery, choices
from api.slices import Filter, Slice
from schemas.attribution import Span, shipped_attribution
from schemas.metrics import Dimension

router = APIRouter(tags=["attribution"])
_DEFAULT_RANGE_DAYS: Final = 30


class AttributionQuery(RangeQuery):
    """`GET /attribution`. Bounds of the days: `schemas/attribution/attribution.yaml`."""

    by: By = By.CHANNEL
    touch: Annotated[str | None, Field(max_length=40, description="What counts as a touch.")] = None
    lookback_days: Annotated[float | None, Field(description="How long before an order a touch counts.")] = None
    half_life_days: Annotated[float | None, Field(description="Time decay: how long until a touch weighs half.")] = None
    model: Annotated[list[str], Field(default_factory=list, max_length=20, description="Repeatable; without, all.")]
    segment: Annotated[Name | None, Field(description="Of the order; of a journey to nothing, its last touch.")] = None
    limit: Annotated[int, Field(ge=1, le=1000, description="Most paths to answer.")] = 20


@router.get("/attribution", summary="Credit by channel or campaign, all models side by side")
async def read(ctx: Ctx, who: Who, query: Annotated[AttributionQuery, Query()]) -> dict[str, Any]:
    """Orders of the range with the touches before them. Without `start`, the 30 days before `end`."""
    rules, now = shipped_attribution(), ctx.now_ms()
    start, end = query.range(now, _DEFAULT_RANGE_DAYS * DAY_MS, ctx.settings)
    given: dict[Dimension, Filter] = {Dimension.SEGMENT: query.segment} if query.segment is not None else {}
    filters = await with_members(ctx, who, given, end)
    lookback = _days("lookback_days", query.lookback_days, rules.lookback_days)
    half_life = _days("half_life_days", query.half_life_days, rules.half_life_days)
    touch = query.touch or rules.default_touch
    known = [name for name, one in rules.touches.items() if any(who.pack.roles.get(role) for role in one.roles)]
    if touch not in known:
        raise invalid("touch", f"{touch[:40]!r} is no touch that the pack {who.pack.name} has events for", known)
    if not who.pack.roles.get("purchase"):
        raise invalid("touch", f"the pack {who.pack.name} declares no orders, so nothing can be credited")
    models = choices("model", query.model, MODELS) or list(MODELS)
    asked = Asked(
        Slice(who.tenant, start, end, filters, known_ms=now), who.pack, query.by, touch, lookback, half_life, rules
    )
    return await attribution(ctx, asked, [model for model in MODELS if model in models], query.limit)


def _days(field: str, given: float | None, span: Span) -> int:
    """Milliseconds; raises a 422 problem for what lies outside the span."""
    days = span.default if given is None else given
    if not span.min <= days <= span.max:
        raise invalid(field, f"must lie between {span.min:g} and {span.max:g} days")
    return round(days * DAY_MS)
