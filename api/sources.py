"""Where measures read: rows shaped like `events`, each fact once. Every builder returns SQL with bound places only.

`order_rows` is the heart: an order (or a campaign and an order) counts at the event that happened first, so it looks at
all history before the end of the range, and the range is applied to what it found.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from api.slices import DAY_MS, Binder, Pieces, Slice, filter_where
from schemas.taxonomy.pack import EventRef

_LONG_MS: Final = 366 * DAY_MS
"""The days of longer parts are not named one by one: one may begin long before the first event."""
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
    return [*span_where(bind, asked, asked.start_ms), *filters_where(bind, asked)]


def span_where(bind: Binder, asked: Slice, start_ms: int | None) -> list[str]:
    """The condition on the time alone, from `start_ms` on, or from the beginning of all."""
    if asked.pieces is None:
        return [*([] if start_ms is None else [bind.since(start_ms)]), bind.before(asked.end_ms)]
    return pieces_where(bind, asked.pieces)


def pieces_where(bind: Binder, pieces: Pieces) -> list[str]:
    """The condition that the time lies in one of these parts, which are in order."""
    outer = bind.within(pieces[0][0], pieces[-1][1])
    if len(pieces) == 1:
        return [outer]
    days, ranges = list[int](), list[tuple[int, int]]()
    for start, end in pieces:
        if end - start > _LONG_MS:
            ranges.append((start, end))
        else:
            days += range(-(-start // DAY_MS), end // DAY_MS)
            ranges += _cut_days(start, end)
    inner = [f"toDate(timestamp) IN {bind(days, 'Array(UInt16)')}"] if days else []
    inner += [f"({bind.within(start, end)})" for start, end in ranges]
    return [outer, f"({' OR '.join(inner)})"]


def _cut_days(start: int, end: int) -> Pieces:
    """What a range has of days of which it has not all."""
    first, last = -(-start // DAY_MS) * DAY_MS, end // DAY_MS * DAY_MS
    if first > last:
        return ((start, end),)
    return tuple(one for one in ((start, first), (last, end)) if one[0] < one[1])


def filters_where(bind: Binder, asked: Slice) -> list[str]:
    """The filters of a slice."""
    return [filter_where(bind, dimension, value) for dimension, value in asked.filters.items()]


def users_in(bind: Binder, tenant: str, refs: Sequence[EventRef], pieces: Pieces) -> str:
    """The SELECT of users with an event of a role in some parts of time: nobody else's first one lies there."""
    where = [events_where(bind, tenant, refs), *pieces_where(bind, pieces)]
    return f"SELECT user_id FROM events WHERE {' AND '.join(where)}"


def orders_in(bind: Binder, tenant: str, refs: Sequence[EventRef], pieces: Pieces) -> str:
    """The condition on events of orders that have one in some parts of time: no other order's first one lies there."""
    inside = " AND ".join(pieces_where(bind, pieces))
    ids = f"SELECT order_id FROM events WHERE {events_where(bind, tenant, refs)} AND {inside} AND order_id != ''"
    return f"(order_id IN ({ids}) OR (order_id = '' AND {inside}))"


def orders_of(bind: Binder, tenant: str, refs: Sequence[EventRef], users: str) -> str:
    """The condition on events of orders that have one by some users (a SELECT)."""
    ids = f"SELECT order_id FROM events WHERE {events_where(bind, tenant, refs)} AND user_id IN ({users})"
    return f"(user_id IN ({users}) OR (order_id != '' AND order_id IN ({ids})))"


def order_rows(
    bind: Binder,
    tenant: str,
    refs: Sequence[EventRef],
    columns: Collection[str],
    *,
    before_ms: int | None,
    by_campaign: bool,
    only: str | None = None,
) -> str:
    """A subquery of orders, each once at its first event by (timestamp, event_id); `by_campaign`: once a campaign.

    It carries `timestamp` and `columns`. A repeated row is never first a second time, so it needs no FINAL.
    `only`: the condition on all events of the orders that are wanted (`orders_in`, `orders_of`).
    """
    conditions = [events_where(bind, tenant, refs), *([only] if only else [])]
    if before_ms is not None:
        conditions.append(bind.before(before_ms))
    key = f"campaign_id, {_ORDER_KEY}" if by_campaign else _ORDER_KEY
    first = _first({name: _plain(name) for name in columns}, "(timestamp, event_id)")
    return _at_first(first, columns, f"events WHERE {' AND '.join(conditions)} GROUP BY {key}")


def first_purchase_rows(
    bind: Binder,
    tenant: str,
    purchases: Sequence[EventRef],
    columns: Collection[str],
    before_ms: int | None,
    users: str | None = None,
) -> str:
    """A subquery of users, each once at the first purchase ever; it carries `timestamp`, `user_id` and `columns`.

    `users`: the SELECT of those that are wanted.
    """
    carried = [name for name in columns if name != "user_id"]
    inner = ["user_id", *carried, *(["event_id"] if carried else [])]
    only = orders_of(bind, tenant, purchases, users) if users else None
    orders = order_rows(bind, tenant, purchases, inner, before_ms=before_ms, by_campaign=False, only=only)
    first = _first({name: name for name in carried}, "(timestamp, event_id)")
    wanted = f" WHERE user_id IN ({users})" if users else ""
    return _at_first(first, carried, f"{orders}{wanted} GROUP BY user_id", "user_id")


def signup_rows(
    bind: Binder,
    tenant: str,
    signups: Sequence[EventRef],
    columns: Collection[str],
    before_ms: int | None,
    users: str | None = None,
) -> str:
    """A subquery of users, each once at the first sign-up; it carries `timestamp`, `user_id` and `columns`.

    `users`: the SELECT of those that are wanted.
    """
    carried = [name for name in columns if name not in ("user_id", "amount_micros")]
    first = _first({name: _plain(name) for name in carried}, "(timestamp, event_id)")
    where = [events_where(bind, tenant, signups)]
    where += [] if before_ms is None else [bind.before(before_ms)]
    where += [f"user_id IN ({users})"] if users else []
    return _at_first(first, carried, f"events WHERE {' AND '.join(where)} GROUP BY user_id", "user_id")


def followed_rows(
    bind: Binder,
    tenant: str,
    cohort: str,
    purchases: Sequence[EventRef],
    columns: Collection[str],
    *,
    days: tuple[int, int],
    before_ms: int,
) -> str:
    """A subquery of the users of a cohort, a row for each order in these days after it, or one without an order.

    `cohort`: a subquery with `timestamp`, `user_id` and `columns`. `days`: from the first on, up to and without the
    second, each of 24 hours from that timestamp on. `amount_micros` is the order's, 0 without one, which `ordered`
    tells. Orders count before `before_ms`.
    """
    carried = [name for name in columns if name not in ("user_id", "amount_micros")]
    paid = ["user_id", "amount_micros"]
    orders = order_rows(bind, tenant, purchases, paid, before_ms=before_ms, by_campaign=False)
    since, until = (f"s.timestamp + toIntervalDay({day})" for day in days)
    named = "".join(f", s.{name} AS {name}" for name in carried)
    return (
        f"(SELECT s.timestamp AS timestamp, s.user_id AS user_id{named}, "
        f"(o.user_id != '' AND o.timestamp >= {since} AND o.timestamp < {until}) AS ordered, "
        f"if(ordered, o.amount_micros, 0) AS amount_micros "
        f"FROM {cohort} AS s LEFT JOIN {orders} AS o ON s.user_id = o.user_id)"
    )


def first_conversion_rows(
    bind: Binder, tenant: str, roles: Mapping[str, Sequence[EventRef]], columns: Collection[str], before_ms: int
) -> str:
    """A subquery of (campaign, user) at the first conversion, with `waited_ms` since the first delivery before it.

    Deliveries to held out users are none. Who was never sent the campaign before, has not waited and is left out.
    """
    carried = [name for name in columns if name not in ("user_id", "campaign_id")]
    names = ["user_id", "campaign_id", "event_id", *carried]
    orders = order_rows(bind, tenant, roles["conversion"], names, before_ms=before_ms, by_campaign=True)
    first = _first({name: name for name in carried}, "(timestamp, event_id)")
    converted = _at_first(first, carried, f"{orders} GROUP BY campaign_id, user_id", "campaign_id, user_id")
    sent = f"{events_where(bind, tenant, roles['impression'])} AND {bind.before(before_ms)}"
    delivered = (
        "(SELECT toString(campaign_id) AS campaign, user_id, min(timestamp) AS since "
        f"FROM events WHERE {sent} AND NOT is_holdout GROUP BY campaign, user_id)"
    )
    named = "".join(f", c.{name} AS {name}" for name in carried)
    waited = "toUnixTimestamp64Milli(c.timestamp) - toUnixTimestamp64Milli(d.since)"
    return (
        f"(SELECT c.timestamp AS timestamp, c.user_id AS user_id, c.campaign_id AS campaign_id{named}, "
        f"{waited} AS waited_ms FROM {converted} AS c "
        f"INNER JOIN {delivered} AS d ON c.campaign_id = d.campaign AND c.user_id = d.user_id WHERE waited_ms >= 0)"
    )


def campaign_newcomer_rows(
    bind: Binder, tenant: str, purchases: Sequence[EventRef], conversions: Sequence[EventRef], before_ms: int
) -> str:
    """A subquery of (campaign, user): users whose first purchase ever is an order that the campaign converted.

    The time is the purchase's; a conversion may be recorded later, also after the end of the range.
    """
    first = first_purchase_rows(bind, tenant, purchases, ("order_id",), before_ms)
    names = ("campaign_id", "creative_id", "segment", "channel")
    converted = order_rows(bind, tenant, conversions, ("order_id", *names), before_ms=None, by_campaign=True)
    carried = ", ".join(f"c.{name} AS {name}" for name in names)
    return (
        f"(SELECT f.timestamp AS timestamp, f.user_id AS user_id, {carried} FROM {converted} AS c "
        f"INNER JOIN {first} AS f ON c.order_id = f.order_id WHERE f.order_id != '')"
    )


def _at_first(first: str, columns: Collection[str], source: str, key: str = "") -> str:
    """A subquery of groups at their first row: its `timestamp`, the group's `key`, and `columns` out of the tuple."""
    keyed = f", {key}" if key else ""
    named = "".join(f", first.{position} AS {name}" for position, name in enumerate(columns, 1))
    return f"(SELECT at AS timestamp{keyed}{named} FROM (SELECT min(timestamp) AS at{keyed}{first} FROM {source}))"


def _first(columns: Mapping[str, str], order: str) -> str:
    return f", argMin(tuple({', '.join(columns.values())}), {order}) AS first" if columns else ""


def _plain(name: str) -> str:
    """A column as its plain type: tuples of dictionary-encoded columns are slow."""
    return name if name in ("user_id", "order_id", "event_id", "amount_micros") else f"toString({name})"
