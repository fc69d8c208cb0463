"""`GET /conflicts`: ids that came again for another event, and which of the events stays."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field

from api.context import Ctx, Who
from api.query import Name, RangeQuery, choices
from api.slices import Binder
from api.times import iso

router = APIRouter(tags=["conflicts"])
_WEEK: Final = 7 * 86_400_000
KINDS: Final = ("user", "body", "copy")
_COLUMNS: Final = (
    "event_id", "kind", "moved", "settled", "toUnixTimestamp64Milli(found_at)",
    "winner_user_id", "toUnixTimestamp64Milli(winner_received_at)", "toString(winner_chunk)",
    "user_id", "toUnixTimestamp64Milli(received_at)", "toString(chunk)",
    "event_type", "toUnixTimestamp64Milli(timestamp)", "source", "key_id", "properties", "context",
)  # fmt: skip


class ConflictQuery(RangeQuery):
    """`GET /conflicts`."""

    kind: Annotated[list[Name], Field(max_length=3)] = Field(default_factory=list)
    event_id: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0


@router.get("/conflicts", summary="Ids that stand for more than one event, newest first")
async def conflicts(ctx: Ctx, who: Who, query: Annotated[ConflictQuery, Query()]) -> dict[str, Any]:
    """Conflicts found in the range (default: the last 7 days): the line that went, whole, and what stays instead.

    `kind` says what is other: `user`, `body`, or nothing (`copy`: two workers stored it). With `moved` the line was
    stored for a moment, in numbers too until it is `settled`; without, it was dropped as a duplicate at once.
    """
    start, end = query.range(ctx.now_ms(), _WEEK, ctx.settings)
    bind = Binder()
    where = f"tenant = {bind(who.tenant)} AND found_at >= {bind.time(start)} AND found_at < {bind.time(end)}"
    if kinds := choices("kind", query.kind, KINDS):
        where += f" AND kind IN {bind(list(kinds), 'Array(String)')}"
    if query.event_id is not None:
        where += f" AND event_id = {bind(query.event_id)}"
    rows = await ctx.reader.rows(
        f"SELECT count() OVER (), {', '.join(_COLUMNS)} FROM conflicts FINAL WHERE {where}"
        " ORDER BY conflicts.found_at DESC, event_id, chunk, body"
        f" LIMIT {bind(query.limit, 'UInt32')} OFFSET {bind(query.offset, 'UInt32')}",
        bind.params,
    )
    return {"conflicts": [_conflict(row[1:]) for row in rows], "total": int(rows[0][0]) if rows else 0}


def _conflict(row: Any) -> dict[str, Any]:
    event_id, kind, moved, settled, found, *both = row
    winner, winner_received, winner_chunk, user, received, chunk, event_type, at, source, key_id, *texts = both
    return {
        "event_id": event_id,
        "kind": kind,
        "moved": bool(moved),
        "settled": bool(settled),
        "found_at": iso(int(found)),
        "stays": {"user_id": winner, "received_at": iso(int(winner_received)), "chunk": winner_chunk},
        "went": {
            "event_type": event_type,
            "user_id": user,
            "timestamp": iso(int(at)),
            "received_at": iso(int(received)),
            "chunk": chunk,
            "source": source,
            "key_id": key_id,
            "properties": _json(texts[0]),
            "context": _json(texts[1]),
        },
    }


def _json(text: str) -> Any:
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return {"text": text}
