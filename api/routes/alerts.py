"""`/alerts`: list, look at, acknowledge, resolve. A change is an event; the watcher folds it into the alert."""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Path, Query
from pydantic import Field

from api.context import Analyst, Caller, Context, Ctx, Who
from api.lists import alert_rows
from api.problems import Problem, not_found
from api.query import Empty, Name, PageQuery, Strict, choices
from api.routes.anomalies import SEVERITIES
from api.times import iso
from schemas.alerting.incident import State

router = APIRouter(tags=["alerts"])
STATES: Final = tuple(state.value for state in State)
_NAMESPACE: Final = uuid.UUID("2d1f0f5e-6c0b-5b0e-8f52-3a9e6f1f7c10")
AlertId = Annotated[str, Path(max_length=200)]


class Action(StrEnum):
    """What a person can do with an alert."""

    ACKNOWLEDGE = "acknowledged"
    RESOLVE = "resolved"


class AlertQuery(PageQuery):
    """`GET /alerts`."""

    state: Annotated[list[Name], Field(max_length=10)] = Field(default_factory=list)
    severity: Annotated[list[Name], Field(max_length=10)] = Field(default_factory=list)


class Note(Strict):
    """What a person says about it. `by`: who, if the key does not say it."""

    note: Annotated[str, Field(max_length=2000)] = ""
    by: Annotated[str, Field(max_length=200)] = ""


class Resolution(Note):
    """How it ended."""

    resolution: Annotated[str, Field(max_length=60)] = ""


@router.get("/alerts", summary="Alerts, newest first")
async def alerts(ctx: Ctx, who: Who, query: Annotated[AlertQuery, Query()]) -> dict[str, Any]:
    """`state` and `severity` may be repeated or comma-separated."""
    states = choices("state", query.state, STATES)
    severities = choices("severity", query.severity, SEVERITIES)
    found, total = await alert_rows(
        ctx.reader, who.tenant, states=states, severities=severities, limit=query.limit, offset=query.offset
    )
    return {"alerts": found, "total": total}


@router.get("/alerts/{alert_id}", summary="One alert")
async def alert(ctx: Ctx, who: Who, alert_id: AlertId, query: Annotated[Empty, Query()]) -> dict[str, Any]:
    """The newest state of an alert; 404 when this tenant has none of that id."""
    return await _find(ctx, who, alert_id)


@router.post("/alerts/{alert_id}/acknowledge", summary="Take an alert")
async def acknowledge(
    ctx: Ctx, who: Analyst, alert_id: AlertId, note: Annotated[Note | None, Body()] = None
) -> dict[str, Any]:
    """Answers when the event is durable. Doing it twice, or to a resolved alert, changes nothing."""
    return await _act(ctx, who, alert_id, Action.ACKNOWLEDGE, note or Note())


@router.post("/alerts/{alert_id}/resolve", summary="Close an alert")
async def resolve(
    ctx: Ctx, who: Analyst, alert_id: AlertId, note: Annotated[Resolution | None, Body()] = None
) -> dict[str, Any]:
    """Answers when the event is durable. Doing it twice changes nothing."""
    return await _act(ctx, who, alert_id, Action.RESOLVE, note or Resolution())


async def _find(ctx: Context, who: Caller, alert_id: str) -> dict[str, Any]:
    found, _ = await alert_rows(ctx.reader, who.tenant, alert_id=alert_id, limit=1)
    if not found:
        raise not_found("alert", alert_id)
    return found[0]


async def _act(ctx: Context, who: Caller, alert_id: str, action: Action, note: Note) -> dict[str, Any]:
    known = await _find(ctx, who, alert_id)
    if known["state"] == State.RESOLVED or known["state"] == action.value:
        return {"alert_id": alert_id, "state": known["state"], "changed": False}
    event_type = f"alert_{action}"
    if event_type not in who.pack.events:
        raise Problem(422, "not-in-pack", f"the pack {who.pack.name!r} declares no event {event_type!r}; add it")
    properties = {
        "alert_id": alert_id,
        f"{action}_by": note.by or who.key_id,
        "note": note.note,
        "resolution": getattr(note, "resolution", ""),
    }
    event = {
        # The same action on the same alert is the same event, however often it is asked for.
        "event_id": str(uuid.uuid5(_NAMESPACE, f"{who.tenant}\x1f{alert_id}\x1f{action}")),
        "event_type": event_type,
        "timestamp": iso(ctx.now_ms()),
        "user_id": note.by or who.key_id,
        "source": "backend",
        "properties": {name: value for name, value in properties.items() if value},
    }
    await ctx.publish(who.tenant, [event])
    return {"alert_id": alert_id, "state": action.value, "changed": True}
