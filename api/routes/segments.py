"""`/segments`: the patterns, RFM clusters and custom segments; `/segment-users` defines one. A change is an event."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from api.context import Analyst, Caller, Context, Ctx, Who
from api.criteria import CRITERIA, parse
from api.custom_segments import DEFINED, DELETED, MOST, custom_of, definition, deletion, last_change
from api.people import Wanted, known_to
from api.problems import Problem, invalid, not_found
from api.query import Moment, PageQuery, RangeQuery, Strict, moment
from api.rfm import DAY_MS
from api.segments import MEMBER, Segment
from schemas.segments.patterns import PATTERN_IDS

router = APIRouter(tags=["segments"])
SegmentId = Annotated[str, Path(max_length=64, description="A pattern such as HIGH_SPENDER, or a custom segment's id.")]


class Format(StrEnum):
    """How members are written."""

    JSON = "json"
    CSV = "csv"


class SegmentsQuery(Strict):
    """As of when; now where it is left out."""

    end: Moment | None = None


class MembersQuery(PageQuery, SegmentsQuery):
    """A page of members, by user_id. Give the same `end` for all pages."""

    format: Format = Format.JSON


class NewSegment(Strict):
    """What to define."""

    segmentName: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
    criteria: Annotated[
        dict[str, Any],
        Field(description="; ".join(f"{name}: {one.description}" for name, one in CRITERIA.items())),
    ]


@router.get("/segments", summary="Behaviour patterns and custom segments")
async def segments(ctx: Ctx, who: Who, query: Annotated[SegmentsQuery, Query()]) -> dict[str, Any]:
    """Size, share, spend, lifetime value, CTR and conversion rate of each, with the counts behind them."""
    wanted = _wanted(ctx, who, query)
    return await ctx.segments.listed(wanted, await ctx.segments.all(wanted))


@router.get("/segments/rfm", summary="RFM clusters of the users who bought")
async def rfm(ctx: Ctx, who: Who, query: Annotated[RangeQuery, Query()]) -> dict[str, Any]:
    """Sizes and averages by declared clusters. Without `start`, of the orders of a year."""
    _check(who)
    days = ctx.segments.clusters.window_days
    start, end = query.range(ctx.now_ms(), days * DAY_MS, ctx.settings)
    return await ctx.segments.rfm(Wanted(who.tenant, who.pack, start, end))


@router.get("/segments/{segment_id}", summary="One segment with its definition")
async def segment(
    ctx: Ctx, who: Who, segment_id: SegmentId, query: Annotated[SegmentsQuery, Query()]
) -> dict[str, Any]:
    """The numbers of one; 404 when this tenant has none of that id."""
    wanted = _wanted(ctx, who, query)
    found = await ctx.segments.listed(wanted, [await _find(ctx, wanted, segment_id)])
    (one,) = found.pop("segments")
    return {**one, **found}


@router.get("/segments/{segment_id}/members", summary="Who belongs to a segment")
async def members(ctx: Ctx, who: Analyst, segment_id: SegmentId, query: Annotated[MembersQuery, Query()]) -> Response:
    """A page of at most 1,000. Needs the role analyst. As CSV the number of all stands in `X-Total-Count`."""
    wanted = _wanted(ctx, who, query)
    one = await _find(ctx, wanted, segment_id)
    page = await ctx.segments.members(wanted, one, query.limit, query.offset)
    found = await ctx.segments.listed(wanted, [one])
    users = found.pop("segments")[0]["users"]
    if query.format is Format.JSON:
        return JSONResponse({"id": one.id, "users": users, "members": page, **found})
    name = {"Content-Disposition": f'attachment; filename="segment-{one.id}.csv"', "X-Total-Count": str(users)}
    return Response(_csv(page), media_type="text/csv; charset=utf-8", headers=name)


@router.post("/segment-users", summary="Define a custom segment")
async def define(ctx: Ctx, who: Analyst, new: Annotated[NewSegment, Body()]) -> dict[str, Any]:
    """Answers when the event is durable, with the size of the segment now. The same criteria are the same segment.

    Defining it again changes nothing, or gives it another name. The list shows it when the event is stored, a second
    or so later.
    """
    wanted = _wanted(ctx, who, SegmentsQuery())
    _declared(who, DEFINED)
    one = custom_of(who.tenant, new.segmentName.strip(), parse(new.criteria, who.pack, ctx.segments.clusters))
    known = await ctx.segments.customs(wanted)
    before = known.get(one.id)
    if before is None and len(known) >= MOST:
        raise invalid("segmentName", f"there are {MOST} custom segments already; delete one first")
    changed = before is None or before.name != one.name
    found = await ctx.segments.listed(wanted, [ctx.segments.custom(one, wanted)])
    (numbers,) = found.pop("segments")
    makeup = await ctx.segments.makeup(wanted, ctx.segments.custom(one, wanted))
    if changed:
        last = await last_change(ctx.reader, who.tenant, one.id)
        await ctx.publish(who.tenant, [definition(who.tenant, one, last, who.key_id, ctx.now_ms())])
    return {
        "segmentId": one.id,
        "segmentName": one.name,
        "userCount": numbers["users"],
        "avgLtv": numbers["avg_ltv"],
        "avgEngagementScore": None,
        "demographics": makeup,
        "criteria": one.criteria.plain(),
        "changed": changed,
        **found,
    }


@router.delete("/segments/{segment_id}", summary="Remove a custom segment")
async def delete(ctx: Ctx, who: Analyst, segment_id: SegmentId) -> dict[str, Any]:
    """Answers when the event is durable. The patterns cannot be removed."""
    wanted = _wanted(ctx, who, SegmentsQuery())
    _declared(who, DELETED)
    one = (await ctx.segments.customs(wanted)).get(segment_id)
    if one is None:
        raise not_found("custom segment", segment_id)
    await ctx.publish(who.tenant, [deletion(who.tenant, one, who.key_id, ctx.now_ms())])
    return {"segmentId": one.id, "segmentName": one.name, "changed": True}


def _check(who: Caller) -> None:
    if not known_to(who.pack):
        text = f"the pack {who.pack.name!r} declares no purchase, signup or segment"
        raise Problem(422, "not-in-pack", text)


def _declared(who: Caller, event_type: str) -> None:
    if event_type not in who.pack.events:
        raise Problem(422, "not-in-pack", f"the pack {who.pack.name!r} declares no event {event_type!r}; add it")


def _wanted(ctx: Context, who: Caller, query: SegmentsQuery) -> Wanted:
    _check(who)
    end = moment("end", query.end, ctx.now_ms()) if query.end else ctx.now_ms()
    return ctx.segments.wanted(who.tenant, who.pack, end)


async def _find(ctx: Context, wanted: Wanted, segment_id: str) -> Segment:
    found = {one.id: one for one in await ctx.segments.all(wanted)}
    if segment_id not in found:
        raise not_found("segment", segment_id, [*PATTERN_IDS, "the id of a custom segment"])
    return found[segment_id]


def _csv(page: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, MEMBER)
    writer.writeheader()
    writer.writerows(page)
    return out.getvalue()
