"""`GET /heatmap`: when users are engaged, by day of the week and hour."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field

from api.context import Ctx, Who
from api.heatmap import SOURCES, HeatMetric, answer
from api.members import members_of, with_members
from api.problems import invalid
from api.query import Name, RangeQuery
from api.slices import Filter, Slice
from api.weeks import similar, zones
from schemas.heatmap import shipped_heatmap
from schemas.metrics import Dimension

router = APIRouter(tags=["heatmap"])
_FOUR_WEEKS: Final = 28 * 86_400_000


class HeatmapQuery(RangeQuery):
    """`GET /heatmap`."""

    metric: HeatMetric = HeatMetric.ACTIVITY
    timezone: Annotated[str, Field(max_length=64, description="IANA name, such as Europe/Berlin.")] = "UTC"
    segment: Name | None = None
    campaign_id: Name | None = None
    compare_segment: Name | None = None


@router.get("/heatmap", summary="Engagement by day of the week and hour")
async def heatmap(ctx: Ctx, who: Who, query: Annotated[HeatmapQuery, Query()]) -> dict[str, Any]:
    """Of the four weeks before `end` if no `start` is given. `per_hour`: the count by how often the hour came."""
    if query.timezone not in zones():
        message = f"{query.timezone!r} is no IANA time zone; did you mean one of these?"
        raise invalid("timezone", message, similar(query.timezone))
    known = [metric.value for metric, source in SOURCES.items() if source.known_to(who.pack)]
    if query.metric not in known:
        raise invalid("metric", "is not in the taxonomy pack of this key", known)
    start, end = query.range(ctx.now_ms(), _FOUR_WEEKS, ctx.settings)
    given = {Dimension.SEGMENT: query.segment, Dimension.CAMPAIGN: query.campaign_id}
    filters: dict[Dimension, Filter] = {dimension: value for dimension, value in given.items() if value is not None}
    asked = Slice(who.tenant, start, end, await with_members(ctx, who, filters, end))
    other: Filter | None = query.compare_segment
    if query.compare_segment is not None:
        other = await members_of(ctx, who, query.compare_segment, end) or query.compare_segment
    return await answer(ctx.reader, ctx.ledger, shipped_heatmap(), query.metric, asked, query.timezone, who.pack, other)
