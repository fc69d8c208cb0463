"""`GET /funnels` (those that are declared) and `GET /funnel` (one of them, or any other)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from api.context import Caller, Context, Ctx, Who
from api.funnels.answer import Named, answer
from api.funnels.asked import FunnelQuery
from api.members import with_members
from api.progress import Labelled, label, progress
from api.query import Empty
from schemas.funnels import steps_known

router = APIRouter(tags=["funnels"])


@router.get("/funnels", summary="The declared funnels")
async def funnels(ctx: Ctx, who: Who, query: Annotated[Empty, Query()]) -> dict[str, Any]:
    """Every funnel whose steps the taxonomy pack of this key declares; `window_hours` runs from the entry on."""
    known = [funnel for funnel in ctx.funnels.funnels if steps_known(funnel, who.pack)]
    return {
        "funnels": [
            {**one.model_dump(mode="json", exclude={"window"}), "window_hours": one.window / 3600} for one in known
        ]
    }


@router.get("/funnel", summary="Who comes how far through a line of steps")
async def funnel(ctx: Ctx, who: Who, request: Request, query: Annotated[FunnelQuery, Query()]) -> dict[str, Any]:
    """Each user once, on the way that goes furthest. Without `start` the 30 days before `end` are read.

    Over a long history this may take a while: `/funnel/progress` with the same parameters tells how far it is.
    """
    named, beside = query.asked(ctx, who)
    reader = Labelled(ctx.slow, _label(who, request))
    asked, other = await _resolved(ctx, who, named), await _resolved(ctx, who, beside) if beside else None
    return await answer(reader, ctx.ledger, asked, other, await ctx.coverage.of(who.tenant, who.pack))


@router.get("/funnel/progress", summary="How far the answer to a funnel is")
async def funnel_progress(
    ctx: Ctx, who: Who, request: Request, query: Annotated[FunnelQuery, Query()]
) -> dict[str, Any]:
    """By the parameters of `/funnel`. Nothing runs before it is asked, and once it is answered or was kept."""
    query.asked(ctx, who)
    return await progress(ctx.reader, _label(who, request))


def _label(who: Caller, request: Request) -> str:
    return label("funnel", who.tenant, request.query_params.multi_items())


async def _resolved(ctx: Context, who: Caller, named: Named) -> Named:
    """With the members of a custom segment where one is named."""
    filters = await with_members(ctx, who, named.asked.filters, named.asked.end_ms)
    return replace(named, asked=replace(named.asked, filters=filters))
