"""`GET /corrections`: which numbers of closed days moved, because events came late or were taken out."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field

from api.context import Ctx, Who
from api.corrections import correction_rows, metrics_by_family
from api.query import RangeQuery

router = APIRouter(tags=["metrics"])
_WEEK: Final = 7 * 86_400_000


class CorrectionQuery(RangeQuery):
    """`GET /corrections`."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0


@router.get("/corrections", summary="Numbers of closed days that moved, newest first")
async def corrections(ctx: Ctx, who: Who, query: Annotated[CorrectionQuery, Query()]) -> dict[str, Any]:
    """What was found in the range (default: the last 7 days): day, metrics, and counts before and after."""
    start, end = query.range(ctx.now_ms(), _WEEK, ctx.settings)
    metrics = metrics_by_family(ctx.dictionary, who.pack)
    found, total = await correction_rows(
        ctx.reader, who.tenant, metrics, start, end, limit=query.limit, offset=query.offset
    )
    return {"corrections": found, "total": total}
