"""`/dead-letters`: what was rejected and why; look at one, preview a patch, replay. A replay is an event, too."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query
from pydantic import Field, ValidationError

from api.context import Analyst, Caller, Context, Ctx, DeadLetterDesk, DeadLetterOrder, Who
from api.problems import Problem, invalid, not_found
from api.query import Empty, Moment, Name, PageQuery, Strict, choices, moment
from api.times import iso
from schemas.dead_letters import query as sql
from schemas.dead_letters.patch import Patch, Step
from schemas.dead_letters.selection import Selection, State, id_of, split_id
from schemas.reasons import Reason

router = APIRouter(tags=["dead letters"])

MOST_AT_ONCE = 1_000
"""Letters that one call previews or replays, at most: call again for the rest."""
_REASONS = tuple(reason.value for reason in Reason)
_STATES = tuple(state.value for state in State)
_GROUPS = 200
LetterId = Annotated[
    str, Path(max_length=40, description="As the list shows it: number of the chunk, a hyphen, index.")
]
Values = Annotated[list[Name], Field(max_length=100)]


class Filters(Strict):
    """Which dead letters: values of one field are alternatives, fields must all hold."""

    reason: Values = Field(default_factory=list)
    field: Values = Field(default_factory=list)
    event_type: Values = Field(default_factory=list)
    key_id: Values = Field(default_factory=list)
    state: Values = Field(default_factory=list)
    id: Values = Field(default_factory=list)
    text: Annotated[str, Field(max_length=500, description="In the message, in any case.")] = ""
    start: Moment | None = None
    end: Moment | None = None


class DeadLetterQuery(Filters, PageQuery):
    """`GET /dead-letters`."""


class PreviewOrder(Strict):
    """What to preview. `patch`: steps, see docs/dead-letters.md. `history`: let them be of any age."""

    select: Filters = Field(default_factory=Filters)
    patch: Annotated[list[Step], Field(max_length=100)] = Field(default_factory=list)
    history: bool = False
    limit: Annotated[int, Field(ge=1, le=MOST_AT_ONCE, description="Letters to judge, oldest first.")] = MOST_AT_ONCE
    show: Annotated[int, Field(ge=0, le=100, description="Letters to show with before and after.")] = 10


class ReplayOrder(Strict):
    """What to replay. `again`: settled ones too, where they are not stored. `by`: who, if the key does not say it."""

    select: Filters = Field(default_factory=Filters)
    patch: Annotated[list[Step], Field(max_length=100)] = Field(default_factory=list)
    history: bool = False
    again: bool = False
    limit: Annotated[int, Field(ge=1, le=MOST_AT_ONCE, description="Letters to look at, oldest first.")] = MOST_AT_ONCE
    by: Annotated[str, Field(max_length=200)] = ""


@router.get("/dead-letters", summary="Rejected events, grouped and listed")
async def dead_letters(ctx: Ctx, who: Who, query: Annotated[DeadLetterQuery, Query()]) -> dict[str, Any]:
    """Groups by reason, field and event type, each with an example, and a page of the letters, newest first.

    Parameters may be repeated or comma-separated. Originals are not in the list: they stand in `/dead-letters/{id}`.
    """
    selection = _selection(ctx, who, query)
    page = sql.page(selection, limit=query.limit, offset=query.offset, newest_first=True)
    counted, groups = sql.counts(selection), sql.groups(selection, limit=_GROUPS)
    letters, counts, found = await asyncio.gather(
        *(ctx.reader.rows(one.sql, one.params) for one in (page, counted, groups))
    )
    by_reason: dict[str, int] = {}
    by_state = dict.fromkeys(_STATES, 0)
    for _, state, reason, n in counts:
        by_reason[reason] = by_reason.get(reason, 0) + int(n)
        by_state[state] += int(n)
    return {
        "total": sum(by_state.values()),
        "by_reason": dict(sorted(by_reason.items())),
        "by_state": by_state,
        "groups": [_group(dict(zip(sql.GROUP_FIELDS, row, strict=True))) for row in found],
        "dead_letters": [_letter(dict(zip(sql.PAGE_FIELDS, row, strict=True))) for row in letters],
    }


@router.get("/dead-letters/{letter_id}", summary="One rejected event")
async def dead_letter(ctx: Ctx, who: Analyst, letter_id: LetterId, query: Annotated[Empty, Query()]) -> dict[str, Any]:
    """Its original, its reason, what was tried, and what the validator says of it now. Needs the role analyst."""
    try:
        split_id(letter_id)
    except ValueError:
        raise not_found("dead letter", letter_id) from None
    found = await _desk(ctx).inspect(who.tenant, letter_id)
    if found is None:
        raise not_found("dead letter", letter_id)
    return found


@router.post("/dead-letters/preview", summary="What a replay would do")
async def preview(ctx: Ctx, who: Analyst, order: Annotated[PreviewOrder, Body()]) -> dict[str, Any]:
    """The patch on the original bytes, and the verdict on what comes out. Writes nothing."""
    asked = DeadLetterOrder(_selection(ctx, who, order.select), Patch(patch=order.patch), order.history)
    return await _desk(ctx).preview(asked, limit=order.limit, show=order.show)


@router.post("/dead-letters/replay", summary="Send rejected events through the pipeline again")
async def replay(ctx: Ctx, who: Analyst, order: Annotated[ReplayOrder, Body()]) -> dict[str, Any]:
    """Answers when Kafka has those that are accepted now. At most 1,000 at a time: call again while `remaining` falls.

    Doing it twice changes nothing. What changed is published as the event `dead_letters_replayed`.
    """
    selection = _selection(ctx, who, order.select)
    asked = DeadLetterOrder(selection, Patch(patch=order.patch), order.history)
    found = await _desk(ctx).replay(asked, order.by or who.key_id, again=order.again, limit=order.limit)
    report = found["tenants"].get(who.tenant, {})
    after = report.get("after", {})
    remaining = sum(after.get(state, 0) for state in (State.WAITING, State.REFUSED_AGAIN))
    return {
        "replay_id": found["replay_id"],
        "patch_sha256": found["patch_sha256"],
        **report,
        "remaining": remaining,
        "audit": found["audit"].get(who.tenant, ""),
    }


def _desk(ctx: Context) -> DeadLetterDesk:
    if ctx.dead_letters is None:
        raise Problem(503, "not-wired", "this API was started without Kafka; `headrace dead-letters` does the same")
    return ctx.dead_letters


def _selection(ctx: Context, who: Caller, given: Filters) -> Selection:
    """The selection of a tenant; raises a 422 problem for what is not known."""
    values: dict[str, Any] = {
        "tenant": who.tenant,
        "reasons": tuple(choices("reason", given.reason, _REASONS)),
        "states": tuple(choices("state", given.state, _STATES)),
        "fields": tuple(given.field),
        "event_types": tuple(_parts(given.event_type)),
        "key_ids": tuple(_parts(given.key_id)),
        "ids": tuple(_parts(given.id)),
        "text": given.text,
    }
    for name, text in (("start", given.start), ("end", given.end)):
        if text is not None:
            values[name] = moment(name, text, ctx.now_ms()) / 1000
    if given.start is not None and values["start"] >= values.get("end", math.inf):
        raise invalid("start", "must lie before the end")
    try:
        return Selection.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = {"ids": "id"}.get(str(first["loc"][0]), str(first["loc"][0]))
        raise invalid(name, first["msg"].removeprefix("Value error, ")) from None


def _parts(given: list[str]) -> list[str]:
    return [part.strip() for value in given for part in value.split(",") if part.strip()]


def _group(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("reason", "field", "event_type")},
        **{name: int(row[name]) for name in ("open", "keys")},
        "count": int(row["n"]),
        "first_at": iso(row["first_ms"]),
        "last_at": iso(row["last_ms"]),
        "example": {"id": id_of(int(row["chunk"]), int(row["example"])), "message": row["message"]},
    }


def _letter(row: dict[str, Any]) -> dict[str, Any]:
    names = ("reason", "field", "message", "event_type", "event_id", "key_id", "state")
    found: dict[str, Any] = {
        "id": id_of(int(row["chunk"]), int(row["index"])),
        "received_at": iso(row["received_ms"]),
        **{name: row[name] for name in names},
        "size": int(row["size"]),
    }
    if row["state"] != State.WAITING:
        tried = ("reason", "field", "message", "event_id", "patch", "replay_id", "actor")
        found["last_try"] = {**{name: row[f"last_{name}"] for name in tried}, "at": iso(row["last_ms"])}
    return found
