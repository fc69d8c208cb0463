"""An independent computation of segments and RFM: plain Python over raw events, no SQL, integers and fractions only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, NamedTuple

from tests.oracle.facts import Fact, milliseconds

DAY = 86_400_000
ORDER = (
    "INACTIVE", "NEW_SHOPPER", "HIGH_SPENDER", "FREQUENT_SHOPPER", "SEASONAL_SPENDER", "WEEKEND_SHOPPER",
    "CATEGORY_FOCUSED", "LOCATION_CLUSTERED",
)  # fmt: skip


class Order(NamedTuple):
    """An order at its first event."""

    ms: int
    event_id: str
    user_id: str
    micros: int
    category: str
    region: str


def orders(events: Iterable[dict[str, Any]], before: int) -> list[Order]:
    """Each order once, at the first of its events by time and id."""
    first: dict[str, Order] = {}
    for event in events:
        if event["event_type"] != "user_purchased" or milliseconds(event["timestamp"]) >= before:
            continue
        told = event["properties"]
        one = Order(
            milliseconds(event["timestamp"]), event["event_id"], event["user_id"],
            round(Fraction(str(told["order_value"])) * 1_000_000), told.get("order_category") or "",
            (event.get("context") or {}).get("region") or "",
        )  # fmt: skip
        key = told["order_id"]
        first[key] = min(first.get(key, one), one)
    return list(first.values())


def signups(events: Iterable[dict[str, Any]], before: int) -> dict[str, tuple[int, str, str]]:
    """(time, id, channel) of the first sign-up of each user."""
    found: dict[str, tuple[int, str, str]] = {}
    for event in events:
        at = milliseconds(event["timestamp"])
        if event["event_type"] == "user_signed_up" and at < before:
            one = (at, event["event_id"], event["properties"].get("acquisition_channel") or "")
            found[event["user_id"]] = min(found.get(event["user_id"], one), one)
    return found


@dataclass
class Person:
    """Everything that the patterns ask about a user."""

    joined: int | None = None
    bought: list[Order] = field(default_factory=list)


def people(events: list[dict[str, Any]], before: int) -> dict[str, Person]:
    """Whoever signed up or bought."""
    found: dict[str, Person] = {}
    for user, (at, _, _) in signups(events, before).items():
        found.setdefault(user, Person()).joined = at
    for one in sorted(orders(events, before)):
        found.setdefault(one.user_id, Person()).bought.append(one)
    return found


def patterns(events: list[dict[str, Any]], at: int) -> dict[str, list[str]]:
    """The matching patterns of every user as of `at` (ms), the strongest first."""
    known = people(events, at)
    recent = {user: [o for o in one.bought if o.ms >= at - 90 * DAY] for user, one in known.items()}
    spend = {user: sum(o.micros for o in bought) for user, bought in recent.items()}
    buyers = [micros for micros in spend.values() if micros > 0]
    found = {}
    for user, one in known.items():
        bought = recent[user]
        since = min([o.ms for o in one.bought] + ([] if one.joined is None else [one.joined]))
        idle = at - (max(o.ms for o in one.bought) if one.bought else since)
        span = max(min(at - since, 90 * DAY), 7 * DAY)
        weekend = sum(datetime.fromtimestamp(o.ms // 1000, UTC).weekday() >= 5 for o in bought)
        kinds = Counter(o.category for o in bought if o.category)
        places = [o.region for o in bought if o.region]
        periods = Counter[int]()
        for o in bought:
            periods[next(n for n in range(6) if o.ms >= at - (n + 1) * 15 * DAY)] += o.micros
        truths = {
            "INACTIVE": idle > 30 * DAY,
            "NEW_SHOPPER": at - since < 30 * DAY,
            "HIGH_SPENDER": spend[user] > 0 and len(buyers) >= 5
            and 5 * sum(micros > spend[user] for micros in buyers) < len(buyers),
            "FREQUENT_SHOPPER": len(bought) >= 4 and len(bought) * 7 * DAY >= 2 * span,
            "SEASONAL_SPENDER": at - since >= 90 * DAY and len(bought) >= 5 and spend[user] > 0
            and 6 * max(periods.values()) >= 3 * spend[user],
            "WEEKEND_SHOPPER": len(bought) >= 5 and 10 * weekend >= 7 * len(bought),
            "CATEGORY_FOCUSED": kinds.total() >= 5 and 2 * max(kinds.values()) >= kinds.total(),
            "LOCATION_CLUSTERED": len(places) >= 5 and len(set(places)) <= 2,
        }  # fmt: skip
        found[user] = [name for name in ORDER if truths[name]]
    return found


def segments(facts: Iterable[Fact], at: int) -> dict[str, str]:
    """The segment that the newest event about it gave each user by `at`."""
    newest: dict[str, Fact] = {}
    for one in facts:
        if one.event_type in ("user_segmented", "user_unsegmented") and one.ms <= at:
            newest[one.user_id] = max(newest.get(one.user_id, one), one)
    return {user: "" if one.event_type == "user_unsegmented" else one.segment for user, one in newest.items()}


def rfm(events: list[dict[str, Any]], start: int, end: int) -> dict[str, tuple[int, int, int]]:
    """The three scores of every user who bought in [start, end)."""
    bought: dict[str, list[Order]] = {}
    for one in orders(events, end):
        if one.ms >= start:
            bought.setdefault(one.user_id, []).append(one)
    values = {u: (max(o.ms for o in some), len(some), sum(o.micros for o in some)) for u, some in bought.items()}

    def score(user: str, part: int) -> int:
        worse = sum(other[part] < values[user][part] for other in values.values())
        return 1 + 5 * worse // len(values)

    return {user: (score(user, 0), score(user, 1), score(user, 2)) for user in values}
