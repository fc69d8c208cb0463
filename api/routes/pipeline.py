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
    """Counts of events in the whole minutes of receipt that the range touches (default: the last 24 hours).

    - `received`: acknowledged to their senders, or come through without. `recovered`: of these, what a collector that
      was killed had not counted yet, or Kafka had without telling it. `abandoned`: not acknowledged in time; their
      sender was told to send them again.
    - `accepted`, and `rejected` by reason: what the workers have seen of them; `late` and `duplicates` are of the
      accepted. `conflicts`: events whose id stands for another event, with another body or user; one of them is kept.
    - `stored`: distinct events in the table. `dead_letters`: refused by the warehouse and kept aside. `suppressed`:
      dropped on purpose. `in_flight`: received or accepted, and not decided yet.
    - `difference`, over closed minutes, must be 0: received - accepted - rejected, and accepted - stored - duplicates -
      suppressed - dead letters.
    - `reconciliation`: when the job that checks every minute was last at work, and the events and minutes of the range
      that did not balance then.
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
