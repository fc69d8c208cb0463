"""`/users/{user_id}/health` and `/health/customers`: how healthy a customer is, and all of them are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from api.context import Caller, Context, Ctx, Who
from api.customer_health import HealthReader
from api.health_rows import ROLES
from api.problems import Problem, not_found
from api.query import Moment, Strict, moment
from schemas.health import shipped_health

router = APIRouter(tags=["customer health"])


class HealthQuery(Strict):
    """`GET /users/{user_id}/health`."""

    at: Moment = "now"


class AllHealthQuery(HealthQuery):
    """`GET /health/customers`."""

    limit: Annotated[int, Field(ge=1, le=1000, description="Most customers to list who fell.")] = 100


@router.get("/users/{user_id}/health", summary="How healthy one customer is, and why")
async def user_health(
    ctx: Ctx, who: Who, user_id: Annotated[str, Path(max_length=200)], query: Annotated[HealthQuery, Query()]
) -> dict[str, Any]:
    """The score as of `at`, made of its parts, and as of some weeks before. 404 for who was no customer then."""
    found = await _reader(ctx, who).one(who.tenant, who.pack, user_id, moment("at", query.at, ctx.now_ms()))
    if found is None:
        raise not_found("customer", user_id)
    return found


@router.get("/health/customers", summary="How healthy all customers are")
async def customers(ctx: Ctx, who: Who, query: Annotated[AllHealthQuery, Query()]) -> dict[str, Any]:
    """By category and segment as of `at` and a week before, and who fell between, deepest first."""
    at = moment("at", query.at, ctx.now_ms())
    return await _reader(ctx, who).all(who.tenant, who.pack, at, query.limit)


def _reader(ctx: Context, who: Caller) -> HealthReader:
    missing = [role for role in ROLES if not who.pack.roles.get(role)]
    if missing:
        detail = f"the pack {who.pack.name!r} has no events of these roles: {', '.join(missing)}; add them"
        raise Problem(422, "not-in-pack", detail)
    return HealthReader(ctx.reader, ctx.ledger, shipped_health())
