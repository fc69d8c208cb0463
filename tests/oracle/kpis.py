"""An independent computation of the KPIs: loops over events of the marketing pack, no SQL, fractions only."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from tests.oracle.facts import milliseconds
from tests.oracle.metrics import DAY_MS, MICROS, Oracle, Scope

Value = Fraction | None
Sides = tuple[Value, Value]
"""What a KPI is divided from; nothing below where it is no quotient."""

PERCENT = {"stickiness", "activeShare", "netRevenueRetention", "churnRate"}
MARKS = {"stickiness": (40, 40), "activeShare": (60, 30), "avgSessionDuration": (8, 30)}
"""Of each part of the score its full mark and its weight."""


def _session_minutes(events: Iterable[dict[str, Any]], start: int, end: int) -> tuple[Fraction, int]:
    """What each day added to the sessions that told their length in the range, and how many these are, by day."""
    before: dict[tuple[str, str, int], int] = {}
    within: dict[tuple[str, str, int], int] = {}
    for event in events:
        seconds = event["properties"].get("session_duration_seconds")
        if event["event_type"] != "user_engaged" or seconds is None or not event["session_id"]:
            continue
        at = milliseconds(event["timestamp"])
        if at < end:
            side, key = (within if at >= start else before), (event["user_id"], event["session_id"], at // DAY_MS)
            side[key] = max(side.get(key, 0), seconds)
    total = 0
    for (user, session, day), longest in within.items():
        last = user, session, day - 1
        known = max(before.get((user, session, day), 0), before.get(last, 0), within.get(last, 0))
        total += max(longest - known, 0)
    return Fraction(total, 60), len(within)


def kpis(events: list[dict[str, Any]], start: int, end: int) -> dict[str, Value]:
    """Every KPI of the period by id; money as currency."""
    found = {name: _value(name, *sides) for name, sides in quotients(events, start, end).items()}
    found["engagementScore"] = _score(found)
    return found


def _value(name: str, above: Value, below: Value) -> Value:
    if name not in QUOTIENTS:
        return above
    scale = 100 if name in PERCENT else 1
    return above * scale / below if above is not None and below else None


def quotients(events: list[dict[str, Any]], start: int, end: int) -> dict[str, Sides]:
    """What every KPI but the score is divided from, by id."""
    oracle, now = Oracle(events, known=end), Scope(start, end)
    month = Scope(end - 30 * DAY_MS, end)
    days = [day for day in range(start // DAY_MS - 1, end // DAY_MS + 1) if start <= day * DAY_MS <= end - DAY_MS]
    daily = [len(oracle.active(Scope(day * DAY_MS, (day + 1) * DAY_MS))) for day in days]
    active, mau = len(oracle.active(now)), len(oracle.active(month))
    ever = len(oracle.active(Scope(end=end)))
    opens = {
        e["event_id"]: e["user_id"]
        for e in events
        if e["event_type"] == "user_engaged" and e["properties"]["engagement_type"] == "app_open"
        and start <= milliseconds(e["timestamp"]) < end
    }  # fmt: skip
    minutes, timed = _session_minutes(events, start, end)

    orders = oracle.orders(now)
    before = oracle.orders(Scope(start - (end - start), start))
    paid = Fraction(sum(o.micros for o in orders), MICROS)
    new = oracle.new_customers(now)
    buyers, earlier = {o.user_id for o in orders}, {o.user_id for o in before}
    refunds = Fraction(sum(f.micros for f in oracle._in(now, "order_refunded")), MICROS)
    in_month = Fraction(sum(o.micros for o in oracle.orders(month)), MICROS)
    new_revenue = Fraction(sum(o.micros for o in orders if o.user_id in new), MICROS)
    lost = sum(o.micros for o in before if o.user_id not in buyers)
    kept, earned = (sum(o.micros for o in some if o.user_id in earlier) for some in (orders, before))
    ltv, cac = oracle.answer("ltv", Scope(end - 365 * DAY_MS, end)), oracle.answer("cac", now)
    plain: dict[str, int | Fraction | None] = {
        "totalUsers": ever, "newUsers": len(oracle.signups(now)), "activeUsers": active,
        "dauLastDay": daily[-1] if daily else None, "mau": mau, "sessions": len(opens), "revenue": paid,
        "newRevenue": new_revenue, "returningRevenue": paid - new_revenue, "churnedRevenue": Fraction(lost, MICROS),
        "refunds": refunds, "netRevenue": paid - refunds, "mrr": in_month, "arr": in_month * 365 / 30,
        "customers": len(buyers), "newCustomers": len(new),
    }  # fmt: skip
    divided: dict[str, tuple[int | Fraction | None, int | Fraction | None]] = {
        "dau": (sum(daily), len(days)), "stickiness": (sum(daily), len(days) * mau), "activeShare": (active, ever),
        "avgLoginsPerUser": (len(opens), len(set(opens.values()))), "avgSessionDuration": (minutes, timed),
        "netRevenueRetention": (Fraction(kept, MICROS), Fraction(earned, MICROS)),
        "churnRate": (len(earlier - buyers), len(earlier)), "avgRevenuePerUser": (paid, active),
        "arppu": (paid, len(buyers)), "avgLtv": (ltv.numerator, ltv.denominator),
        "cac": (cac.numerator, cac.denominator), "ltv_cac_ratio": (ltv.value, cac.value),
    }  # fmt: skip
    assert divided.keys() == QUOTIENTS
    both = {**{name: (above, None) for name, above in plain.items()}, **divided}
    return {name: (_exact(above), _exact(below)) for name, (above, below) in both.items()}


def _exact(number: int | Fraction | None) -> Value:
    return None if number is None else Fraction(number)


QUOTIENTS = PERCENT | {
    "dau", "avgLoginsPerUser", "avgSessionDuration", "avgRevenuePerUser", "arppu", "avgLtv", "cac", "ltv_cac_ratio",
}  # fmt: skip


def points(name: str, value: Value) -> Value:
    """What a part of the score is worth, 0 to 100."""
    return None if value is None else min(Fraction(100), value * 100 / MARKS[name][0])


def _score(found: dict[str, Value]) -> Value:
    told = {name: mark for name in MARKS if (mark := points(name, found[name])) is not None}
    weights = sum(MARKS[name][1] for name in told)
    return sum(MARKS[name][1] * mark for name, mark in told.items()) / Fraction(weights) if weights else None
