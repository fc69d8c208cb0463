"""`GET /pipeline`: the conservation ledger."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.context import Ctx, Who
from api.pipeline import LIVE_RANGE, read_pipeline
from api.problems import invalid
from api.query import PipelineQuery
from api.slices import Interval

router = APIRouter(tags=["pipeline"])
_MOST_MINUTES = 8 * 24 * 60


@router.get("/pipeline", summary="What was received, and what became of it")
async def pipeline(ctx: Ctx, who: Who, query: Annotated[PipelineQuery, Query()]) -> dict[str, Any]:
    """Counts of the whole minutes of receipt that the range touches (default: the last 24 hours).

    `difference` is over closed minutes and must be 0: received - accepted - rejected, accepted - stored - duplicates.
    """
    start, end = query.range(ctx.now_ms(), LIVE_RANGE, ctx.settings)
    if query.interval not in (None, Interval.MINUTE):
        raise invalid("interval", "the ledger is kept by the minute", [Interval.MINUTE.value])
    answer = await read_pipeline(ctx.ledger, who.tenant, start, end)
    if query.interval:
        if end - start > _MOST_MINUTES * 60_000:
            raise invalid("interval", "minutes are answered for at most 8 days")
        answer["series"] = await ctx.ledger.minutes(who.tenant, start, end)
    return answer
