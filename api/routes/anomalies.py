"""`GET /anomalies`: what the detectors found."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field

from api.context import Ctx, Who
from api.lists import anomaly_rows
from api.query import Name, RangeQuery, choices

router = APIRouter(tags=["anomalies"])
_WEEK: Final = 7 * 86_400_000
SEVERITIES: Final = ("critical", "warning", "info")


class AnomalyQuery(RangeQuery):
    """`GET /anomalies`."""

    metric_id: Name | None = None
    severity: Annotated[list[Name], Field(max_length=10)] = Field(default_factory=list)
    type: Name | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0


@router.get("/anomalies", summary="Anomalies, newest first")
async def anomalies(ctx: Ctx, who: Who, query: Annotated[AnomalyQuery, Query()]) -> dict[str, Any]:
    """Anomalies whose minute lies in the range (default: the last 7 days)."""
    start, end = query.range(ctx.now_ms(), _WEEK, ctx.settings)
    equal = {"metric_id": query.metric_id, "type": query.type}
    severities = choices("severity", query.severity, SEVERITIES)
    found, total = await anomaly_rows(
        ctx.reader, who.tenant, start, end, equal, severities, limit=query.limit, offset=query.offset
    )
    return {"anomalies": found, "total": total}
