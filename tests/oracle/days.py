"""What happened on each UTC day, by what rollups call a family, in all and by campaign: lists and sets of events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tests.oracle.facts import ACTIVITY_TYPES, OPENS, Fact, facts, milliseconds

DAY_MS = 86_400_000
MONEY = {"spent", "purchased", "converted", "session_days"}
PEOPLE = {
    "active", "sent", "opened", "clicked", "message_sent", "message_opened", "purchased", "converted", "sessions",
}  # fmt: skip
BY_CAMPAIGN = {
    "all", "sent", "opened", "clicked", "message_sent", "message_opened", "spent", "purchased", "converted",
}  # fmt: skip


class Place(NamedTuple):
    """Where something is counted; no dimension: in all."""

    day: int
    family: str
    dimension: str | None
    value: str | None


class Count(NamedTuple):
    """Events, millionths and users; the latter two only of families that have them."""

    events: int
    micros: int | None
    users: int | None


class Row(NamedTuple):
    """One thing that a family counts."""

    family: str
    ms: int
    user_id: str
    campaign_id: str
    micros: int


def days(events: Iterable[dict[str, Any]]) -> dict[Place, Count]:
    """Every place that has something."""
    events = list(events)
    found: dict[Place, list[Row]] = {}
    for row in [*_plain(facts(events)), *_first(facts(events)), *_sessions(events)]:
        places = [Place(row.ms // DAY_MS, row.family, None, None)]
        if row.family in BY_CAMPAIGN:
            places.append(places[0]._replace(dimension="campaign_id", value=row.campaign_id))
        for place in places:
            found.setdefault(place, []).append(row)
    return {place: _count(place.family, rows) for place, rows in found.items()}


def _count(family: str, rows: list[Row]) -> Count:
    return Count(
        len(rows),
        sum(row.micros for row in rows) if family in MONEY else None,
        len({row.user_id for row in rows}) if family in PEOPLE else None,
    )


def _plain(every: Iterable[Fact]) -> Iterator[Row]:
    """Events as they come."""
    for one in every:
        kind, looked = one.event_type, one.event_type == "campaign_viewed" and one.view_type in OPENS
        families = {
            "all": True,
            "active": kind in ACTIVITY_TYPES or looked,
            "sent": kind == "campaign_delivered" and not one.holdout,
            "opened": looked,
            "clicked": kind == "campaign_clicked",
            "message_sent": kind == "message_sent" and one.channel in ("email", "push"),
            "message_opened": kind == "message_opened" and one.channel in ("email", "push"),
            "spent": kind == "campaign_spend_recorded",
        }
        for family, counts in families.items():
            if counts:
                yield Row(family, one.ms, one.user_id, one.campaign_id, one.micros)


def _first(every: Iterable[Fact]) -> Iterator[Row]:
    """Orders, conversions, sign-ups and customers at their first event. `every`: in order."""
    seen: set[tuple[str, ...]] = set()
    for one in every:
        by_kind: dict[str, list[tuple[str, ...]]] = {
            "user_purchased": [("purchased", one.order_id), ("newcomers", one.user_id)],
            "campaign_converted": [("converted", one.campaign_id, one.order_id)],
            "user_signed_up": [("signed_up", one.user_id)],
        }
        keys = by_kind.get(one.event_type, [])
        if one.event_type == "user_purchased" and keys[0] in seen:
            continue  # the order is somebody's already
        for key in keys:
            if key not in seen:
                seen.add(key)
                yield Row(key[0], one.ms, one.user_id, one.campaign_id, one.micros)


def _sessions(events: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """Sessions that begin, and what each day added to the length of those that told it (in millionths of a second)."""
    longest: dict[tuple[str, str, int], int] = {}
    for event in {event["event_id"]: event for event in events}.values():
        if event["event_type"] != "user_engaged":
            continue
        user, session, ms = event["user_id"], event["session_id"], milliseconds(event["timestamp"])
        if event["properties"]["engagement_type"] == "app_open":
            yield Row("sessions", ms, user, "", 0)
        if session and (seconds := event["properties"].get("session_duration_seconds")) is not None:
            key = user, session, ms // DAY_MS
            longest[key] = max(longest.get(key, 0), seconds)
    for (user, session, day), seconds in longest.items():
        added = max(seconds - longest.get((user, session, day - 1), 0), 0)
        yield Row("session_days", day * DAY_MS, user, "", added * 1_000_000)
