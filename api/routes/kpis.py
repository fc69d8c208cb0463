"""`GET /kpis`: the executive KPIs, in the specification's own shape."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from api.context import Ctx, Who
from api.kpis import Compare, answer
from api.problems import invalid
from api.query import Moment, RangeQuery
from api.slices import Slice
from schemas.kpis import shipped_kpis

router = APIRouter(tags=["kpis"])
_MONTH: Final = 30 * 86_400_000
_SAME: Final = {"startDate": "start", "endDate": "end", "comparisonPeriod": "compare"}


class KpiQuery(RangeQuery):
    """`GET /kpis`: the specification's names, or the ones of every other endpoint."""

    startDate: Moment | None = None
    endDate: Moment | None = None
    compare: Compare | None = None
    comparisonPeriod: Compare | None = None

    def told_once(self) -> KpiQuery:
        """The same question in our names; raises a 422 problem for one that is put twice."""
        values = self.model_dump(exclude_none=True)
        for theirs, ours in _SAME.items():
            if theirs in values:
                if ours in values:
                    raise invalid(theirs, f"means the same as {ours}; give one of them")
                values[ours] = values.pop(theirs)
        return KpiQuery.model_validate(values)


@router.get("/kpis", summary="Executive KPIs, compared with another period")
async def kpis(ctx: Ctx, who: Who, query: Annotated[KpiQuery, Query()]) -> dict[str, Any]:
    """Of the 30 days before `endDate` if no `startDate` is given; the end is not included. Null: cannot be told."""
    asked = query.told_once()
    start, end = asked.range(ctx.now_ms(), _MONTH, ctx.settings)
    whole = Slice(who.tenant, start, end, {}, known_ms=ctx.now_ms())
    covered = await ctx.coverage.of(who.tenant, who.pack)
    return await answer(ctx.reader, ctx.ledger, shipped_kpis(), whole, who.pack, asked.compare, covered)
