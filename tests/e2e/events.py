"""Events of the marketing pack, made by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

Event = dict[str, Any]

CAMPAIGN = "11111111-1111-4111-8111-111111111111"
OTHER_CAMPAIGN = "22222222-2222-4222-8222-222222222222"


def iso(seconds: float) -> str:
    """Unix seconds as ISO 8601 with milliseconds."""
    ms = round(seconds * 1000)
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def event(
    kind: str, user: str = "user-1", *, at: float | None = None, source: str = "mobile", **properties: Any
) -> Event:
    """One event, now if `at` (Unix seconds) does not say otherwise."""
    return {
        "event_id": str(uuid4()),
        "event_type": kind,
        "timestamp": iso(time.time() if at is None else at),
        "user_id": user,
        "session_id": "",
        "source": source,
        "properties": properties,
        "context": {"platform": "iOS"},
    }


def delivered(user: str = "user-1", *, at: float | None = None, campaign: str = CAMPAIGN, **more: Any) -> Event:
    """An impression."""
    return event(
        "campaign_delivered", user, at=at, source="backend", campaign_id=campaign, delivery_channel="push", **more
    )


def clicked(user: str = "user-1", *, at: float | None = None, campaign: str = CAMPAIGN, **more: Any) -> Event:
    """A click."""
    return event("campaign_clicked", user, at=at, campaign_id=campaign, **more)


def purchased(user: str = "user-1", value: float = 19.99, *, at: float | None = None, **more: Any) -> Event:
    """An order."""
    return event(
        "user_purchased", user, at=at, source="backend", **{"order_id": str(uuid4()), "order_value": value, **more}
    )


def numbered(kind: str, number: int, user: str, at: float, **properties: Any) -> Event:
    """An event whose id says its number, so that a test can make it again."""
    found = event(kind, user, at=at, source="backend" if kind != "campaign_clicked" else "mobile", **properties)
    return {**found, "event_id": str(UUID(int=number))}
