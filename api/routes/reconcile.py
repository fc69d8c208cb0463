"""`POST /reconcile`: the numbers of another tool, held against ours. Nothing of them is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import Field

from api.context import Analyst, Caller, Context, Ctx
from api.ledger import INCOMPLETE_BELOW
from api.problems import Problem
from api.query import Strict
from api.reconcile import DAY, Compared, Reconciler, Verdict, totals, worst
from api.reconcile_file import MOST_BYTES, read_claims
from api.reconcile_reasons import of_holdouts, of_ledger, of_open_days, of_time_zone
from api.slices import Slice
from api.times import iso

router = APIRouter(tags=["reconciliation"])
_BODY: Final = {
    "required": True,
    "content": {
        "text/csv": {"schema": {"type": "string"}, "example": "date,metric,value\n2026-11-20,impressions,51234\n"},
        "application/json": {"schema": {"type": "array", "items": {"type": "object"}}},
    },
}


class ReconcileQuery(Strict):
    """`POST /reconcile`."""

    tolerance_percent: Annotated[float, Field(ge=0, le=100, description="Of our number, and still a match.")] = 0.5


@router.post("/reconcile", summary="Another tool's numbers beside ours", openapi_extra={"requestBody": _BODY})
async def reconcile(
    ctx: Ctx, who: Analyst, request: Request, query: Annotated[ReconcileQuery, Query()]
) -> dict[str, Any]:
    """At most 10,000 rows and 1 MiB of CSV or JSON: `date,metric,value` and dimensions. Needs the role analyst."""
    claims = read_claims(await _body(request), request.headers.get("content-type", ""))
    tolerance = Fraction(str(query.tolerance_percent))
    ours = Reconciler(ctx.metrics, ctx.dictionary, ctx.settings, who.tenant, who.pack, ctx.now_ms())
    rows = await ours.compare(claims, tolerance)
    start, end = min(one.day_ms for one in claims), max(one.day_ms for one in claims) + DAY
    completeness, as_of = await asyncio.gather(
        ctx.ledger.completeness(who.tenant, start, end), ctx.ledger.as_of(who.tenant)
    )
    return {
        "rows": [row.shown() for row in rows],
        "totals": totals(rows),
        "worst": [row.shown() for row in worst(rows)],
        "reasons": await _reasons(ctx, who, rows, ours, tolerance, (start, end), completeness),
        "tolerance_percent": query.tolerance_percent,
        "start": iso(start),
        "end": iso(end),
        "as_of": iso(as_of),
        "completeness": round(completeness, 4),
        "incomplete": completeness < INCOMPLETE_BELOW,
    }


async def _reasons(
    ctx: Context,
    who: Caller,
    rows: Sequence[Compared],
    ours: Reconciler,
    tolerance: Fraction,
    span: tuple[int, int],
    completeness: float,
) -> list[dict[str, Any]]:
    """What may explain rows that are off; nothing where none is."""
    off = [row for row in rows if row.verdict not in (Verdict.MATCH, Verdict.UNKNOWN_METRIC)]
    if not off:
        return []
    zone, holdouts, book = await asyncio.gather(
        of_time_zone(ctx.reader, rows, ours, tolerance),
        of_holdouts(ctx.reader, off, Slice(who.tenant, *span, {}), ours),
        ctx.ledger.book(who.tenant, *span),
    )
    return [*zone, *of_open_days(off, ours.now_ms), *holdouts, *of_ledger(book.all, completeness)]


async def _body(request: Request) -> bytes:
    """The body; raises a 413 problem as soon as it is too large."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > MOST_BYTES:
            raise Problem(413, "too-large", f"the file is larger than {MOST_BYTES} bytes; send it in parts")
        pieces.append(piece)
    return b"".join(pieces)
