"""Users of random events, and what is true of them by plain Python: spend, segments, clusters, criteria."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from schemas.segments import shipped_clusters
from schemas.segments.patterns import PATTERN_IDS
from tests.api.world import DAY, NOW, Event, World
from tests.oracle.facts import ACTIVITY_TYPES, OPENS, facts
from tests.oracle.segments import orders, people, rfm, segments, signups

DAY_MS = DAY * 1000


class Truth:
    """What is so as of a moment, from raw events alone."""

    def __init__(self, events: list[Event], end: int) -> None:
        self.end, self.start = end, end - 90 * DAY_MS
        self.facts = [one for one in facts(events) if one.ms < end]
        self.segments = segments(self.facts, end - 1)
        self.people = people(events, end)
        self.users = sorted({*self.people, *self.segments})
        self.orders = orders(events, end)
        self.signups = signups(events, end)
        clusters = shipped_clusters().by_scores()
        self._spent: dict[str, list[tuple[int, int]]] = {}
        for o in self.orders:
            self._spent.setdefault(o.user_id, []).append((o.ms, o.micros))
        self._active: dict[str, int] = {}
        for f in self.facts:  # in order of time
            if f.event_type in ACTIVITY_TYPES or (f.event_type == "campaign_viewed" and f.view_type in OPENS):
                self._active[f.user_id] = f.ms
        self.clusters = {u: clusters[s] for u, s in rfm(events, end - 365 * DAY_MS, end).items()}

    def spent(self, user: str, start: int = -(1 << 60)) -> Fraction:
        return Fraction(sum(micros for ms, micros in self._spent.get(user, ()) if ms >= start), 10**6)

    def active(self, user: str) -> int | None:
        return self._active.get(user)

    def numbers(self, members: set[str]) -> dict[str, Any]:
        recent = [f for f in self.facts if f.ms >= self.start]
        shown = sum(f.event_type == "campaign_delivered" and not f.holdout and f.user_id in members for f in recent)
        clicks = [f.user_id for f in recent if f.event_type == "campaign_clicked" and f.user_id in members]
        first: dict[tuple[str, str], Any] = {}
        for f in self.facts:  # in order of time and id
            if f.event_type == "campaign_converted":
                first.setdefault((f.campaign_id, f.order_id), f)
        converted = {f.user_id for f in first.values() if f.ms >= self.start} & members
        spend, ltv = (sum((self.spent(u, s) for u in members), Fraction()) for s in (self.start, -(1 << 60)))
        n = len(members)
        return {
            "users": n, "share": over(100 * n, len(self.users)), "spend": float(spend), "ltv": float(ltv),
            "avg_spend": over(spend, n), "avg_ltv": over(ltv, n), "impressions": shown, "clicks": len(clicks),
            "ctr": over(100 * len(clicks), shown), "converted_users": len(converted),
            "clicking_users": len(set(clicks)), "conversion_rate": over(100 * len(converted), len(set(clicks))),
        }  # fmt: skip

    def members(self, criteria: dict[str, Any]) -> set[str]:
        return {user for user in self.users if all(self._fits(user, *one) for one in criteria.items())}

    def _fits(self, user: str, name: str, asked: Any) -> bool:
        bought = [ms for ms, _ in self._spent.get(user, ())]
        if isinstance(asked, list):
            lists = {
                "segment": self.segments.get(user, ""), "rfmCluster": self.clusters.get(user, ""),
                "acquisitionChannel": self.signups.get(user, (0, "", ""))[2],
            }  # fmt: skip
            return lists[name] in asked
        times = {
            "daysSinceSignup": self.signups[user][0] if user in self.signups else None,
            "daysSinceLastOrder": max(bought, default=None),
            "daysSinceActive": self.active(user),
        }
        value: Fraction | None
        if name in times:
            value = None if times[name] is None else Fraction(self.end - times[name], DAY_MS)  # type: ignore[operator]
        else:
            value = {"ltv": self.spent(user), "orders": Fraction(len(bought))}[name]
        low, high = (Fraction(str(asked.get(end, other))) for end, other in (("min", 0), ("max", 10**12)))
        return value is not None and low <= value <= high


def over(above: Fraction | int, below: int) -> float | None:
    return float(Fraction(above) / below) if below else None


def random_events(seed: int, *, users: int = 40, orders: int = 70, n: int = 900) -> list[Event]:
    world = World(seed, days=420, users=users, orders=orders)
    events = world.events(n)
    for _ in range(60):
        about = world.event()
        about["timestamp"] = iso(NOW - round(world.rng.random() * 50) * DAY - 1)
        kind = world.rng.choice(("user_segmented", "user_segmented", "user_unsegmented"))
        told = {"segment_type": world.rng.choice(PATTERN_IDS)} if kind == "user_segmented" else {}
        more = {} if told else {"previous_segment": world.uuid()}
        about |= {"event_type": kind, "properties": {**told, **more}, "context": {}}
        about["user_id"] = world.rng.choice([*world.users, "only-segmented"])
        events.append(about)
    return events


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def purchase(user: str, value: float, at: float = NOW - DAY, order: int | None = None) -> Event:
    about = uuid.uuid5(uuid.NAMESPACE_OID, f"{user}{value}{at}{order}")
    number = order if order is not None else about.int
    return {
        "event_id": str(about),
        "event_type": "user_purchased", "timestamp": iso(at), "user_id": user, "source": "backend",
        "properties": {"order_id": str(uuid.UUID(int=number, version=4)), "order_value": value}, "context": {},
    }  # fmt: skip


def money(bought: Any) -> Fraction:
    return Fraction(sum(o.micros for o in bought), 10**6)


def part(answer: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in wanted}
