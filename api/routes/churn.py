"""Churn: who may leave, and why one user may."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from api.churn import at_risk, one_user
from api.context import Ctx, Who
from api.problems import not_found
from api.query import Empty, PageQuery

router = APIRouter(tags=["churn"])
users = APIRouter(tags=["churn"])


class Tier(StrEnum):
    """Tiers of risk, worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class ChurnQuery(PageQuery):
    """`GET /churn-risk`."""

    riskTier: Tier | None = None
    minProbability: Annotated[float, Field(ge=0, le=1)] | None = None


@router.get("/churn-risk", summary="Users at risk, most at risk first")
async def churn_risk(ctx: Ctx, who: Who, query: Annotated[ChurnQuery, Query()]) -> dict[str, Any]:
    """Of the newest daily round; who was active since was looked at again (`scoredAt`).

    Without filters: everybody above tier low. Names and addresses are not kept here.
    """
    tier = query.riskTier.value if query.riskTier else None
    return await at_risk(ctx.reader, who.tenant, who.pack, tier, query.minProbability, query.limit, query.offset)


@users.get("/users/{user_id}/churn_risk", summary="Why one user may leave")
async def user_churn_risk(
    ctx: Ctx, who: Who, user_id: Annotated[str, Path(max_length=200)], query: Annotated[Empty, Query()]
) -> dict[str, Any]:
    """The newest prediction: contributions in log odds add up, with `base`, to the log odds of the probability."""
    found = await one_user(ctx.reader, who.tenant, user_id)
    if found is None:
        raise not_found("prediction for user", user_id)
    return found
