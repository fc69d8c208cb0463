"""An independent computation of customer health: loops over one user's events, whole hundredths."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, NamedTuple

from tests.oracle.facts import Fact, milliseconds
from tests.oracle.metrics import DAY_MS, EVER, Oracle, Scope

WEIGHTS = {"recency": 30, "frequency": 25, "monetary": 20, "breadth": 15, "loyalty": 10}
CATEGORIES = (("excellent", 90), ("good", 70), ("at_risk", 50), ("critical", 0))


class Scored(NamedTuple):
    """Points and score in hundredths."""

    segment: str
    points: dict[str, int]
    score: int
    inputs: dict[str, dict[str, Any]]

    @property
    def category(self) -> str:
        return next(name for name, least in CATEGORIES if self.score >= least * 100)

    def parts(self) -> list[dict[str, Any]]:
        """Every part as it is told: points from 0 to 100, what it adds to the score, and what it was made from."""
        return [
            {
                "part": name, "points": float(Fraction(self.points[name], 100)), "weight": weight,
                "contribution": float(Fraction(self.points[name] * weight, 10_000)), "inputs": self.inputs[name],
            }
            for name, weight in WEIGHTS.items()
        ]  # fmt: skip


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
    told = _by_user([*active, *oracle._in(Scope(end=at), "user_segmented", "user_unsubscribed")])
    lively, paying = _by_user(active), _by_user(orders)
    found = {}
    for user in {one.user_id for one in active if one.ms >= at - 365 * DAY_MS}:
        own = lively[user]
        recent = {(at - 1 - one.ms) // DAY_MS for one in own}
        now, before = len([day for day in recent if day < 30]), len([day for day in recent if 30 <= day < 60])
        paid = sum(one.micros for one in paying.get(user, ()))
        kinds = {one.event_type for one in own if one.ms >= at - 30 * DAY_MS}
        last = max(one.ms for one in own)
        opted_out = {kind for who, kind in left if who == user}
        points = {
            "recency": max(0, min(10_000, (60 * DAY_MS - (at - last)) * 10_000 // (57 * DAY_MS))),
            "frequency": 0 if not now else 10_000 if now >= before else now * 10_000 // before,
            "monetary": min(10_000, paid * 10_000 // 100_000_000),
            "breadth": min(10_000, len(kinds) * 10_000 // 3),
            "loyalty": _loyalty(opted_out),
        }
        inputs: dict[str, dict[str, Any]] = {
            "recency": {"last_active": _iso(last), "days_since": float(Fraction(at - last, DAY_MS))},
            "frequency": {"active_days": now, "active_days_before": before},
            "monetary": {"paid": float(Fraction(paid, 1_000_000))},
            "breadth": {"kinds_of_activity": len(kinds)},
            "loyalty": {
                "opted_out_of_some": bool(opted_out - {"all_campaigns"}),
                "opted_out_of_all": "all_campaigns" in opted_out,
            },
        }
        segments = [
            (one.ms, one.event_id, one.segment)
            for one in told[user]
            if one.segment and one.event_type != "user_unsubscribed" and one.ms > -EVER
            and one.ms >= at - 365 * DAY_MS
        ]  # fmt: skip
        score = sum(WEIGHTS[name] * n for name, n in points.items()) // 100
        found[user] = Scored(max(segments)[2] if segments else "", points, score, inputs)
    return found


def _by_user(some: Iterable[Fact]) -> dict[str, list[Fact]]:
    found: dict[str, list[Fact]] = {}
    for one in some:
        found.setdefault(one.user_id, []).append(one)
    return found


def _loyalty(given: set[str]) -> int:
    return 10_000 if not given else 0 if "all_campaigns" in given else 5_000


def _iso(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"
