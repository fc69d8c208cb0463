"""An independent computation of the KPIs: loops over events of the marketing pack, no SQL, fractions only."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from tests.oracle.facts import milliseconds
from tests.oracle.metrics import DAY_MS, MICROS, Oracle, Scope

Value = Fraction | None


def _by(above: int | Fraction, below: int | Fraction, scale: int = 1) -> Value:
    return Fraction(above) * scale / below if below else None


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
    ltv = oracle.answer("ltv", Scope(end - 365 * DAY_MS, end)).value
    cac = oracle.answer("cac", now).value
    found: dict[str, Value] = {
        "totalUsers": Fraction(ever),
        "newUsers": Fraction(len(oracle.signups(now))),
        "activeUsers": Fraction(active),
        "dau": _by(sum(daily), len(days)),
        "dauLastDay": Fraction(daily[-1]) if daily else None,
        "mau": Fraction(mau),
        "stickiness": _by(sum(daily), len(days) * mau, 100),
        "activeShare": _by(active, ever, 100),
        "sessions": Fraction(len(opens)),
        "avgLoginsPerUser": _by(len(opens), len(set(opens.values()))),
        "avgSessionDuration": _by(minutes, timed),
        "revenue": paid,
        "newRevenue": new_revenue,
        "returningRevenue": paid - new_revenue,
        "churnedRevenue": Fraction(sum(o.micros for o in before if o.user_id not in buyers), MICROS),
        "refunds": refunds,
        "netRevenue": paid - refunds,
        "netRevenueRetention": _by(
            sum(o.micros for o in orders if o.user_id in earlier), sum(o.micros for o in before), 100
        ),
        "churnRate": _by(len(earlier - buyers), len(earlier), 100),
        "mrr": in_month,
        "arr": in_month * 365 / 30,
        "customers": Fraction(len(buyers)),
        "newCustomers": Fraction(len(new)),
        "avgRevenuePerUser": _by(paid, active),
        "arppu": _by(paid, len(buyers)),
        "avgLtv": ltv,
        "cac": cac,
        "ltv_cac_ratio": ltv / cac if ltv is not None and cac else None,
    }
    found["engagementScore"] = _score(found)
    return found


def _score(found: dict[str, Value]) -> Value:
    marks = {"stickiness": (40, 40), "activeShare": (60, 30), "avgSessionDuration": (8, 30)}
    points, weights = Fraction(0), 0
    for name, (full, weight) in marks.items():
        value = found[name]
        if value is not None:
            points += weight * min(Fraction(100), value * 100 / full)
            weights += weight
    return points / weights if weights else None
