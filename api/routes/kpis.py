"""`GET /kpis`: the executive KPIs, in the specification's own shape."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from api.context import Ctx, Who
from api.kpis import Compare, answer
from api.query import SpecRangeQuery
from api.slices import Slice
from schemas.kpis import shipped_kpis

router = APIRouter(tags=["kpis"])
_MONTH: Final = 30 * 86_400_000


class KpiQuery(SpecRangeQuery):
    """`GET /kpis`."""

    compare: Compare | None = None
    comparisonPeriod: Compare | None = None


@router.get("/kpis", summary="Executive KPIs, compared with another period")
async def kpis(ctx: Ctx, who: Who, query: Annotated[KpiQuery, Query()]) -> dict[str, Any]:
    """Of the 30 days before `endDate` if no `startDate` is given; the end is not included. Null: cannot be told."""
    start, end = query.range(ctx.now_ms(), _MONTH, ctx.settings)
    compare = query.either("compare", "comparisonPeriod")
    whole = Slice(who.tenant, start, end, {}, known_ms=ctx.now_ms())
    covered = await ctx.coverage.of(who.tenant, who.pack)
    return await answer(ctx.reader, ctx.ledger, shipped_kpis(), whole, who.pack, compare, covered)
