"""An independent computation of customer health: loops over one user's events, whole hundredths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.oracle.facts import milliseconds
from tests.oracle.metrics import DAY_MS, EVER, Oracle, Scope

WEIGHTS = {"recency": 30, "frequency": 25, "monetary": 20, "breadth": 15, "loyalty": 10}
CATEGORIES = (("excellent", 90), ("good", 70), ("at_risk", 50), ("critical", 0))


class Scored(NamedTuple):
    """Points and score in hundredths."""

    segment: str
    points: dict[str, int]
    score: int

    @property
    def category(self) -> str:
        return next(name for name, least in CATEGORIES if self.score >= least * 100)


def health(events: list[dict[str, Any]], at: int) -> dict[str, Scored]:
    """Every customer as of a moment, by id."""
    oracle = Oracle(events)
    active = sorted([*oracle._in(Scope(end=at), "user_engaged", "campaign_clicked", "message_opened", "user_purchased",
                                 "user_signed_up"), *oracle.opens(Scope(end=at))])  # fmt: skip
    orders = oracle.orders(Scope(at - 90 * DAY_MS, at))
    left = [
        (event["user_id"], event["properties"]["unsubscribe_type"])
        for event in events
        if event["event_type"] == "user_unsubscribed" and at - 90 * DAY_MS <= milliseconds(event["timestamp"]) < at
    ]
    told = sorted([*active, *oracle._in(Scope(end=at), "user_segmented", "user_unsubscribed")])
    found = {}
    for user in {one.user_id for one in active if one.ms >= at - 365 * DAY_MS}:
        own = [one for one in active if one.user_id == user]
        recent = {(at - 1 - one.ms) // DAY_MS for one in own}
        now, before = len([day for day in recent if day < 30]), len([day for day in recent if 30 <= day < 60])
        paid = sum(one.micros for one in orders if one.user_id == user)
        kinds = {one.event_type for one in own if one.ms >= at - 30 * DAY_MS}
        since = at - max(one.ms for one in own)
        points = {
            "recency": max(0, min(10_000, (60 * DAY_MS - since) * 10_000 // (57 * DAY_MS))),
            "frequency": 0 if not now else 10_000 if now >= before else now * 10_000 // before,
            "monetary": min(10_000, paid * 10_000 // 100_000_000),
            "breadth": min(10_000, len(kinds) * 10_000 // 3),
            "loyalty": _loyalty([kind for who, kind in left if who == user]),
        }
        segments = [
            (one.ms, one.event_id, one.segment)
            for one in told
            if one.user_id == user and one.segment and one.event_type != "user_unsubscribed" and one.ms > -EVER
            and one.ms >= at - 365 * DAY_MS
        ]  # fmt: skip
        score = sum(WEIGHTS[name] * n for name, n in points.items()) // 100
        found[user] = Scored(max(segments)[2] if segments else "", points, score)
    return found


def _loyalty(kinds: Iterable[str]) -> int:
    given = set(kinds)
    return 10_000 if not given else 0 if "all_campaigns" in given else 5_000
