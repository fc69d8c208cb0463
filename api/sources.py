"""Where measures read: rows shaped like `events`, each fact once. Every builder returns SQL with bound places only.

`order_rows` is the heart: an order (or a campaign and an order) counts at the event that happened first, so it looks at
all history before the end of the range, and the range is applied to what it found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from api.slices import Binder, Slice
from schemas.taxonomy.pack import EventRef

COLUMNS: Final = ("user_id", "campaign_id", "creative_id", "segment", "channel", "event_type", "order_id")
_ORDER_KEY: Final = "order_id, if(order_id = '', event_id, '')"
"""A purchase without an order id is an order of its own."""


def events_where(bind: Binder, tenant: str, refs: Sequence[EventRef]) -> str:
    """The condition that selects a tenant's events of a role."""
    types = sorted({ref.event_type for ref in refs})
    condition = f"tenant = {bind(tenant)} AND event_type IN {bind(types, 'Array(String)')}"
    if all(ref.subtype is None for ref in refs):
        return condition
    whole = sorted({ref.event_type for ref in refs if ref.subtype is None})
    parts = [f"event_type IN {bind(whole, 'Array(String)')}"] if whole else []
    parts += [
        f"(event_type = {bind(ref.event_type)} AND subtype = {bind(ref.subtype)})"
        for ref in refs
        if ref.subtype is not None
    ]
    return f"{condition} AND ({' OR '.join(parts)})"


def range_where(bind: Binder, asked: Slice) -> list[str]:
    """The conditions of a slice on rows shaped like `events`: its range and its filters."""
    return [
        f"timestamp >= {bind.time(asked.start_ms)}",
        f"timestamp < {bind.time(asked.end_ms)}",
        *filters_where(bind, asked),
    ]


def filters_where(bind: Binder, asked: Slice) -> list[str]:
    """The filters of a slice. Dimensions are an enum, so the column names are ours; the values are bound."""
    return [f"{dimension.value} = {bind(value)}" for dimension, value in asked.filters.items()]


def order_rows(bind: Binder, tenant: str, refs: Sequence[EventRef], *, before_ms: int | None, by_campaign: bool) -> str:
    """A subquery of orders, each once at its first event by (timestamp, event_id); `by_campaign`: once a campaign."""
    conditions = [events_where(bind, tenant, refs)]
    if before_ms is not None:
        conditions.append(f"timestamp < {bind.time(before_ms)}")
    fields = ", ".join(f"toString({name})" for name in COLUMNS)
    key = f"campaign_id, {_ORDER_KEY}" if by_campaign else _ORDER_KEY
    inner = (
        f"SELECT min(timestamp) AS at, "
        f"argMin(tuple({fields}, amount_micros, event_id), (timestamp, event_id)) AS first "
        f"FROM events FINAL WHERE {_all(conditions)} GROUP BY {key}"
    )
    named = _named((*COLUMNS, "amount_micros", "event_id"))
    return f"(SELECT at AS timestamp, {named} FROM ({inner}))"


def first_purchase_rows(bind: Binder, tenant: str, purchases: Sequence[EventRef], before_ms: int) -> str:
    """A subquery of users, each once at the first purchase ever."""
    orders = order_rows(bind, tenant, purchases, before_ms=before_ms, by_campaign=False)
    names = [name for name in COLUMNS if name != "user_id"]
    inner = (
        f"SELECT user_id, min(timestamp) AS at, argMin(tuple({', '.join(names)}), (timestamp, event_id)) AS first "
        f"FROM {orders} GROUP BY user_id"
    )
    return f"(SELECT at AS timestamp, user_id, {_named(names)} FROM ({inner}))"


def campaign_newcomer_rows(
    bind: Binder, tenant: str, purchases: Sequence[EventRef], conversions: Sequence[EventRef], before_ms: int
) -> str:
    """A subquery of (campaign, user): users whose first purchase ever is an order that the campaign converted.

    The time is the purchase's; a conversion may be recorded later, also after the end of the range.
    """
    first = first_purchase_rows(bind, tenant, purchases, before_ms)
    converted = order_rows(bind, tenant, conversions, before_ms=None, by_campaign=True)
    return (
        "(SELECT f.timestamp AS timestamp, f.user_id AS user_id, c.campaign_id AS campaign_id, "
        f"c.creative_id AS creative_id, c.segment AS segment, c.channel AS channel FROM {converted} AS c "
        f"INNER JOIN {first} AS f ON c.order_id = f.order_id WHERE f.order_id != '')"
    )


def _named(names: Sequence[str]) -> str:
    """The parts of the tuple `first` under their column names."""
    return ", ".join(f"first.{position} AS {name}" for position, name in enumerate(names, 1))


def _all(conditions: Iterable[str]) -> str:
    return " AND ".join(conditions)
