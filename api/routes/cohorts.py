"""`GET /cohorts`: who stayed and what they paid, month by month after the sign-up."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field

from api.cohort_sql import CohortBy, CohortQuestion, RetainedBy
from api.cohorts import answer
from api.context import Ctx, Who
from api.problems import invalid
from api.query import SpecRangeQuery
from schemas.cohorts import shipped_cohort_rules
from schemas.taxonomy.pack import Pack

router = APIRouter(tags=["cohorts"])
_YEAR_MS: Final = 365 * 86_400_000


class CohortMetric(StrEnum):
    """Retention is always answered; revenue adds what the cohorts paid."""

    RETENTION = "retention"
    REVENUE = "revenue"


class CohortQuery(SpecRangeQuery):
    """`GET /cohorts`. The range chooses people by their first sign-up."""

    cohort_by: CohortBy | None = None
    cohortBy: CohortBy | None = None
    metric: CohortMetric | None = None
    metricType: CohortMetric | None = None
    retained_by: RetainedBy = RetainedBy.ACTIVITY
    months: Annotated[int, Field(ge=0, le=12, description="The last month, counted from 0.")] = 12


@router.get("/cohorts", summary="Retention and revenue by month after the sign-up")
async def cohorts(ctx: Ctx, who: Who, query: Annotated[CohortQuery, Query()]) -> dict[str, Any]:
    """A month that is not over is null. Without `start` the sign-ups of the 365 days before `end` are read."""
    by: CohortBy = query.either("cohort_by", "cohortBy") or CohortBy.SIGNUP_MONTH
    with_revenue = query.either("metric", "metricType") is CohortMetric.REVENUE
    _check(by, query.retained_by, with_revenue, who.pack)
    now = ctx.now_ms()
    start, end = query.range(now, _YEAR_MS, ctx.settings)
    asked = CohortQuestion(who.tenant, who.pack, by, start, end, query.months, now)
    covered = await ctx.coverage.of(who.tenant, who.pack) if start < now else None
    rules = shipped_cohort_rules()
    return await answer(ctx.reader, ctx.ledger, asked, rules, query.retained_by, with_revenue, covered)


def _check(by: CohortBy, retained_by: RetainedBy, with_revenue: bool, pack: Pack) -> None:
    """Refuse what the pack has no events or columns for."""
    wanted = {
        "cohort_by": "signup",
        "retained_by": retained_by.value,
        **({"metric": "purchase"} if with_revenue else {}),
    }
    for field, role in wanted.items():
        if not pack.roles.get(role):
            raise invalid(field, f"the pack {pack.name} declares no event for {role}")
    possible = [one.value for one in CohortBy if one.column is None or _carries(pack, one.column)]
    if by.value not in possible:
        raise invalid("cohort_by", f"the sign-up of the pack {pack.name} carries no {by.column}", possible)


def _carries(pack: Pack, column: str) -> bool:
    in_context = any(prop.column == column for prop in pack.context.values())
    return in_context or any(pack.events[ref.event_type].column(column) for ref in pack.roles["signup"])
