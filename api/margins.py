"""What is left of revenue: rows of orders less the cost of their goods, and of spend, shared out to segments.

A campaign's spend goes to segments as its deliveries did, in the range, or in each point of a series; what is left over
by rounding goes to the last one, so that segments add up to what was spent. Spend of a campaign that was delivered to
nobody stands under the empty segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from api.slices import Binder, Slice, bucket_sql
from api.sources import events_where, order_rows
from schemas.taxonomy.pack import EventRef

Roles = Mapping[str, Sequence[EventRef]]


def margin_rows(bind: Binder, asked: Slice, roles: Roles) -> str:
    """A subquery with `timestamp`, `segment` and `amount_micros`, which is negative for what was spent."""
    return f"({_sold(bind, asked, roles)} UNION ALL {_spent(bind, asked, roles)})"


def _sold(bind: Binder, asked: Slice, roles: Roles) -> str:
    """Orders less the newest cost that was recorded of each."""
    columns = ("order_id", "segment", "amount_micros")
    orders = order_rows(bind, asked.tenant, roles["purchase"], columns, before_ms=asked.end_ms, by_campaign=False)
    costs = (
        "(SELECT order_id, argMax(amount_micros, (timestamp, event_id)) AS cost FROM events "
        f"WHERE {events_where(bind, asked.tenant, roles['cost'])} AND order_id != '' GROUP BY order_id)"
    )
    return (
        "SELECT o.timestamp AS timestamp, o.segment AS segment, toInt128(o.amount_micros) - c.cost AS amount_micros "
        f"FROM {orders} AS o LEFT JOIN {costs} AS c ON o.order_id = c.order_id"
    )


def _spent(bind: Binder, asked: Slice, roles: Roles) -> str:
    within = bind.within(asked.start_ms, asked.end_ms)
    point = bucket_sql(asked.interval) if asked.interval else "toInt64(0)"
    key = f"toString(campaign_id) AS campaign, {point} AS point"
    spend = (
        f"(SELECT {key}, timestamp, toInt128(amount_micros) AS amount FROM events FINAL "
        f"WHERE {events_where(bind, asked.tenant, roles['spend'])} AND {within})"
    )
    delivered = (
        f"(SELECT {key}, toString(segment) AS name, count() AS n FROM events FINAL "
        f"WHERE {events_where(bind, asked.tenant, roles['impression'])} AND NOT is_holdout AND {within} "
        "GROUP BY campaign, point, name)"
    )
    shares = (
        "(SELECT campaign, point, name, n, sum(n) OVER (PARTITION BY campaign, point) AS total, sum(n) OVER "
        "(PARTITION BY campaign, point ORDER BY name ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS upto "
        f"FROM {delivered})"
    )
    whole = "greatest(i.total, 1)"
    share = f"intDiv(s.amount * i.upto, {whole}) - intDiv(s.amount * (i.upto - i.n), {whole})"
    return (
        f"SELECT s.timestamp, i.name, -if(i.total = 0, s.amount, {share}) "
        f"FROM {spend} AS s LEFT JOIN {shares} AS i ON s.campaign = i.campaign AND s.point = i.point"
    )
