"""`GET /windows`: the rolling windows that the stream keeps, with exact unique users from the events."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field

from api.context import Ctx, Who
from api.query import Name, Strict
from api.slices import Binder
from api.times import iso
from schemas.metrics import Dimension
from schemas.wire import MICROS

router = APIRouter(tags=["windows"])
_MINUTE: Final = 60_000


class Window(StrEnum):
    """How far back; the current minute is the last of it."""

    FIVE_MINUTES = "5m"
    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"


_WIDTHS: Final = {Window.FIVE_MINUTES: 5, Window.HOUR: 60, Window.DAY: 1440, Window.WEEK: 10_080}


class WindowQuery(Strict):
    """`GET /windows`."""

    window: Window = Window.HOUR
    group_by: Dimension = Dimension.EVENT_TYPE
    event_type: Name | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


@router.get("/windows", summary="Rolling windows by event time")
async def windows(ctx: Ctx, who: Who, query: Annotated[WindowQuery, Query()]) -> dict[str, Any]:
    """Events, money and late events as the stream counted them; users as distinct over the whole window."""
    end = ctx.now_ms() // _MINUTE * _MINUTE + _MINUTE
    start = end - _WIDTHS[query.window] * _MINUTE
    by = query.group_by.value
    counted, users = Binder(), Binder()
    only = "" if query.event_type is None else f" AND event_type = {counted(query.event_type)}"
    cells = (
        f"SELECT grouping(g), toString({by}) AS g, sum(events), sum(toInt128(amount_micros)), sum(late) "
        f"FROM windows FINAL WHERE tenant = {counted(who.tenant)} AND minute >= {counted.time(start)} "
        f"AND minute < {counted.time(end)} AND events > 0{only} GROUP BY GROUPING SETS ((), (g))"
    )
    only = "" if query.event_type is None else f" AND event_type = {users(query.event_type)}"
    people = (
        f"SELECT grouping(g), toString({by}) AS g, uniqExact(user_id) FROM events FINAL "
        f"WHERE tenant = {users(who.tenant)} AND {users.within(start, end)}{only} "
        "GROUP BY GROUPING SETS ((), (g))"
    )
    rows, distinct, as_of = await asyncio.gather(
        ctx.reader.rows(cells, counted.params), ctx.reader.rows(people, users.params), ctx.ledger.as_of(who.tenant)
    )
    unique = {(total, group): int(n) for total, group, n in distinct}
    found = {(total, group): _row(counts, unique.get((total, group), 0)) for total, group, *counts in rows}
    groups = [{"group": group, **row} for (total, group), row in found.items() if not total]
    groups.sort(key=lambda row: (-row["events"], row["group"]))
    return {
        "window": query.window.value,
        "start": iso(start),
        "end": iso(end),
        "group_by": by,
        "as_of": iso(as_of),
        "total": found.get((1, ""), _row((0, 0, 0), 0)),
        "groups": groups[: query.limit],
    }


def _row(counts: Any, users: int) -> dict[str, Any]:
    events, micros, late = (int(n) for n in counts)
    return {"events": events, "users": users, "amount": micros / MICROS, "late": late}
