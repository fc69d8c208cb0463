"""The query builder of customer health: inputs, points and score of each customer as of any moments, as exact SQL.

Points and scores are whole hundredths, rounded down, so that they are the same wherever they are computed. Events
before a moment count, by event time; days are of 24 hours, counted back from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from api.slices import Binder
from api.sources import events_where, order_rows
from schemas.health import Health
from schemas.health.model import PARTS
from schemas.taxonomy.pack import Pack
from schemas.wire import MICROS

DAY: Final = 86_400_000
WHOLE: Final = 10_000
"""100 points, in hundredths."""
ROLES: Final = ("activity", "purchase", "unsubscribe", "unsubscribe_all")
"""What a pack must declare for health to be known."""
INPUTS: Final = ("last_active", "recent_days", "days_before", "paid", "kinds", "left_some", "left_all")
SCORED: Final = ("user_id", "moment", "segment", *INPUTS, *PARTS, "score")
"""The columns of `scored`, by name."""


def scored(
    bind: Binder, tenant: str, pack: Pack, declared: Health, moments: Sequence[int], user_id: str | None = None
) -> str:
    """A subquery with the columns `SCORED`: a row for each customer of each moment (ms). `user_id`: only this one."""
    parts = {
        "recency": _recency(bind, declared),
        "frequency": _share("recent_days", "days_before"),
        "monetary": f"least({WHOLE}, intDiv(paid * {WHOLE}, {bind(declared.monetary.full * MICROS, 'Int64')}))",
        "breadth": f"least({WHOLE}, intDiv(kinds * {WHOLE}, {bind(declared.breadth.full, 'Int64')}))",
        "loyalty": (
            f"multiIf(left_all, {bind(declared.loyalty.all * 100, 'Int64')}, "
            f"left_some, {bind(declared.loyalty.some * 100, 'Int64')}, {WHOLE})"
        ),
    }
    points = ", ".join(f"toInt64({sql}) AS {name}" for name, sql in parts.items())
    weighted = " + ".join(f"{name} * {bind(weight, 'Int64')}" for name, weight in declared.weights.items())
    inputs = _inputs(bind, tenant, pack, declared, moments, user_id)
    return f"(SELECT *, {points}, intDiv({weighted}, 100) AS score FROM {inputs})"


def _recency(bind: Binder, declared: Health) -> str:
    full, zero = declared.recency.full_days * DAY, declared.recency.zero_days * DAY
    since = "(moment - last_active)"
    sloped = f"intDiv(({bind(zero, 'Int64')} - {since}) * {WHOLE}, {bind(zero - full, 'Int64')})"
    return f"greatest(0, least({WHOLE}, {sloped}))"


def _share(part: str, whole: str) -> str:
    return f"multiIf({part} = 0, 0, {part} >= {whole}, {WHOLE}, intDiv({part} * {WHOLE}, {whole}))"


def _inputs(
    bind: Binder, tenant: str, pack: Pack, declared: Health, moments: Sequence[int], user_id: str | None
) -> str:
    rows = " UNION ALL ".join(_sources(bind, tenant, pack, declared, moments, user_id))
    days = {
        name: bind(days, "Int64")
        for name, days in (
            ("customer", declared.customer_days), ("frequency", declared.frequency.days),
            ("twice", 2 * declared.frequency.days), ("monetary", declared.monetary.days),
            ("breadth", declared.breadth.days), ("loyalty", declared.loyalty.days),
        )
    }  # fmt: skip
    active = "kind = 'activity'"
    inputs = {
        "segment": "argMaxIf(known, (at, event_id), known != '')",
        "last_active": f"maxIf(at, {active})",
        "recent_days": f"toInt64(uniqExactIf(day, {active} AND day < {days['frequency']}))",
        "days_before": f"toInt64(uniqExactIf(day, {active} AND day >= {days['frequency']} AND day < {days['twice']}))",
        "paid": f"sumIf(toInt128(micros), kind = 'order' AND day < {days['monetary']})",
        "kinds": f"toInt64(uniqExactIf(what, {active} AND day < {days['breadth']}))",
        "left_some": f"countIf(kind = 'some' AND day < {days['loyalty']}) > 0",
        "left_all": f"countIf(kind = 'all' AND day < {days['loyalty']}) > 0",
    }
    named = ", ".join(f"{sql} AS {name}" for name, sql in inputs.items())
    dated = (
        f"SELECT *, moment, intDiv(moment - 1 - at, {DAY}) AS day FROM ({rows}) "
        f"ARRAY JOIN {bind(list(moments), 'Array(Int64)')} AS moment WHERE at < moment"
    )
    return (
        f"(SELECT user_id, moment, {named} FROM ({dated}) GROUP BY user_id, moment "
        f"HAVING countIf({active} AND day < {days['customer']}) > 0)"
    )


def _sources(
    bind: Binder, tenant: str, pack: Pack, declared: Health, moments: Sequence[int], user_id: str | None
) -> list[str]:
    since, until = min(moments) - declared.longest_days * DAY, max(moments)
    span = bind.within(since, until)
    if user_id is not None:
        span += f" AND user_id = {bind(user_id)}"
    orders = order_rows(
        bind, tenant, pack.roles["purchase"], ("user_id", "amount_micros"), before_ms=until, by_campaign=False
    )
    at = "toUnixTimestamp64Milli(timestamp) AS at"
    left = f"if({events_where(bind, tenant, pack.roles['unsubscribe_all'])}, 'all', 'some')"
    columns = {
        "activity": ("'activity'", "toString(event_type)", "toString(segment)"),
        "unsubscribe": (left, "''", "''"),
        "segment": ("'segment'", "''", "toString(segment)"),
    }
    found = [
        f"SELECT user_id, {at}, '' AS event_id, 'order' AS kind, '' AS what, amount_micros AS micros, '' AS known "
        f"FROM {orders} WHERE {span}"
    ]
    for role, (kind, what, known) in columns.items():
        if refs := pack.roles.get(role):
            found.append(
                f"SELECT user_id, {at}, event_id, {kind} AS kind, {what} AS what, toInt64(0) AS micros, "
                f"{known} AS known FROM events WHERE {events_where(bind, tenant, refs)} AND {span}"
            )
    return found
