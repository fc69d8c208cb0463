"""The query builder: every measure that a metric may name, as exact SQL over `events FINAL`.

A measure gives whole numbers (events, people, orders, millionths of money), so sums are the same in any order. `cells`
holds them by group and point of the series; `None` stands for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from api.budgets import budget_cells
from api.reader import Reader
from api.slices import Binder, Slice, bucket_sql, buckets, floor
from api.sources import (
    campaign_newcomer_rows,
    events_where,
    filters_where,
    first_purchase_rows,
    order_rows,
    range_where,
)
from schemas.taxonomy.pack import EventRef, Pack

Cells = dict[tuple[str | None, int | None], int]
"""(group, start of the point in ms) -> whole number. (None, None) is the total."""

_EVENTS: Final = "count()"
_USERS: Final = "uniqExact(user_id)"
_AMOUNT: Final = "sum(toInt128(amount_micros))"
_MESSAGE_CHANNELS: Final = ("email", "push")


@dataclass(frozen=True)
class Rows:
    """What a measure aggregates: a FROM clause and the conditions on it."""

    source: str
    conditions: Sequence[str]


Select = Callable[[Binder, Slice, Pack], Rows]


@dataclass(frozen=True)
class Measure:
    """One countable thing. `roles`: what the pack must declare for it to exist. `money`: millionths of the currency.

    `to_date`: counts everything before a point's end instead of what happened within it.
    """

    id: str
    roles: tuple[str, ...]
    aggregate: str
    select: Select
    money: bool = False
    to_date: bool = False

    def known_to(self, pack: Pack) -> bool:
        """Whether the pack declares what this measure counts."""
        return all(pack.roles.get(role) for role in self.roles)


def _refs(pack: Pack, role: str) -> tuple[EventRef, ...]:
    return pack.roles[role]


def _of_role(role: str, *extra: str) -> Select:
    def select(bind: Binder, asked: Slice, pack: Pack) -> Rows:
        where = events_where(bind, asked.tenant, _refs(pack, role))
        return Rows("events FINAL", [where, *range_where(bind, asked), *extra])

    return select


def _everything(bind: Binder, asked: Slice, pack: Pack) -> Rows:
    return Rows("events FINAL", [f"tenant = {bind(asked.tenant)}", *range_where(bind, asked)])


def _before_end(role: str) -> Select:
    def select(bind: Binder, asked: Slice, pack: Pack) -> Rows:
        where = events_where(bind, asked.tenant, _refs(pack, role))
        return Rows("events FINAL", [where, f"timestamp < {bind.time(asked.end_ms)}", *filters_where(bind, asked)])

    return select


def _orders(role: str, *, by_campaign: bool) -> Select:
    def select(bind: Binder, asked: Slice, pack: Pack) -> Rows:
        rows = order_rows(bind, asked.tenant, _refs(pack, role), before_ms=asked.end_ms, by_campaign=by_campaign)
        return Rows(rows, range_where(bind, asked))

    return select


def _newcomers(bind: Binder, asked: Slice, pack: Pack) -> Rows:
    rows = first_purchase_rows(bind, asked.tenant, _refs(pack, "purchase"), asked.end_ms)
    return Rows(rows, range_where(bind, asked))


def _campaign_newcomers(bind: Binder, asked: Slice, pack: Pack) -> Rows:
    purchases, conversions = _refs(pack, "purchase"), _refs(pack, "conversion")
    rows = campaign_newcomer_rows(bind, asked.tenant, purchases, conversions, asked.end_ms)
    return Rows(rows, range_where(bind, asked))


def _clicks_after_messages(bind: Binder, asked: Slice, pack: Pack) -> Rows:
    clicks = _of_role("click")(bind, asked, pack)
    opened = events_where(bind, asked.tenant, _refs(pack, "message_open"))
    pairs = (
        f"SELECT user_id, campaign_id FROM events FINAL WHERE {opened} AND {_BY_MESSAGE} "
        f"AND timestamp < {bind.time(asked.end_ms)}"
    )
    return Rows(clicks.source, [*clicks.conditions, f"(user_id, campaign_id) IN ({pairs})"])


_BY_MESSAGE: Final = f"channel IN {_MESSAGE_CHANNELS}"
_NOT_HELD_OUT: Final = "NOT is_holdout"

_CONVERTED: Final = _orders("conversion", by_campaign=True)
_PURCHASED: Final = _orders("purchase", by_campaign=False)

MEASURES: Final[Mapping[str, Measure]] = {
    measure.id: measure
    for measure in (
        Measure("events", (), _EVENTS, _everything),
        Measure("active_users", ("activity",), _USERS, _of_role("activity")),
        Measure("impressions", ("impression",), _EVENTS, _of_role("impression", _NOT_HELD_OUT)),
        Measure("sent_users", ("impression",), _USERS, _of_role("impression", _NOT_HELD_OUT)),
        Measure("opened_users", ("open",), _USERS, _of_role("open")),
        Measure("clicks", ("click",), _EVENTS, _of_role("click")),
        Measure("clicking_users", ("click",), _USERS, _of_role("click")),
        Measure("message_sent_users", ("sent",), _USERS, _of_role("sent", _BY_MESSAGE)),
        Measure("message_opened_users", ("message_open",), _USERS, _of_role("message_open", _BY_MESSAGE)),
        Measure("message_clicked_users", ("click", "message_open"), _USERS, _clicks_after_messages),
        Measure("spend", ("spend",), _AMOUNT, _of_role("spend"), money=True),
        Measure("spend_to_date", ("spend",), _AMOUNT, _before_end("spend"), money=True, to_date=True),
        Measure("budget", ("budget",), "", _before_end("budget"), money=True),
        Measure("purchases", ("purchase",), _EVENTS, _PURCHASED),
        Measure("revenue", ("purchase",), _AMOUNT, _PURCHASED, money=True),
        Measure("conversions", ("conversion",), _EVENTS, _CONVERTED),
        Measure("campaign_revenue", ("conversion",), _AMOUNT, _CONVERTED, money=True),
        Measure("converted_users", ("conversion",), _USERS, _CONVERTED),
        Measure("new_customers", ("purchase",), _USERS, _newcomers),
        Measure("campaign_new_customers", ("purchase", "conversion"), _USERS, _campaign_newcomers),
    )
}


async def read_cells(reader: Reader, measure: Measure, asked: Slice, pack: Pack, max_buckets: int) -> Cells:
    """The cells of one measure. Empty groups and points are left out. Raises what the reader raises."""
    if measure.id == "budget":
        return await budget_cells(reader, asked, pack, _points(asked, max_buckets))
    sql, params = statement(measure, asked, pack)
    cells: Cells = {}
    for aggregated, group, point, n in await reader.rows(sql, params):
        # Bit 2 of `aggregated`: over all groups; bit 1: over all points.
        cells[None if aggregated & 2 else group, None if aggregated & 1 else int(point)] = int(n)
    return running_totals(cells, _points(asked, max_buckets)) if measure.to_date else cells


def statement(measure: Measure, asked: Slice, pack: Pack) -> tuple[str, dict[str, object]]:
    """The SELECT of a measure, with its bound values: (aggregated bits, group, point, number)."""
    bind = Binder()
    rows = measure.select(bind, asked, pack)
    group = f"toString({asked.group_by.value})" if asked.group_by else "''"
    point = _point(measure, asked)
    where = " AND ".join(rows.conditions)
    columns, sets = _sets(asked)
    tail = f" GROUP BY GROUPING SETS ({', '.join(sets)})" if len(sets) > 1 else ""
    inner = f"{group} AS g, {point} AS b" if len(sets) > 1 else ""
    if not inner:
        return f"SELECT 3, '', 0, {measure.aggregate} FROM {rows.source} WHERE {where}", bind.params
    return (
        f"SELECT {columns}, {measure.aggregate} FROM (SELECT *, {inner} FROM {rows.source} WHERE {where}){tail}",
        bind.params,
    )


def _sets(asked: Slice) -> tuple[str, list[str]]:
    if asked.group_by and asked.interval:
        return "grouping(g, b), g, b", ["()", "(g)", "(b)", "(g, b)"]
    if asked.group_by:
        return "1 + 2 * grouping(g), g, 0", ["()", "(g)"]
    if asked.interval:
        return "2 + grouping(b), '', b", ["()", "(b)"]
    return "3, '', 0", ["()"]


def _point(measure: Measure, asked: Slice) -> str:
    if asked.interval is None:
        return "toInt64(0)"
    point = bucket_sql(asked.interval)
    return f"greatest({point}, toInt64({floor(asked.interval, asked.start_ms)}))" if measure.to_date else point


def _points(asked: Slice, most: int) -> list[int]:
    return (buckets(asked.interval, asked.start_ms, asked.end_ms, most) or []) if asked.interval else []


def running_totals(cells: Cells, points: Sequence[int]) -> Cells:
    """What each point adds, as what there is at its end; points without news repeat the one before."""
    totals = {key: n for key, n in cells.items() if key[1] is None}
    for group in {group for group, _ in cells}:
        running = 0
        for point in points:
            running += cells.get((group, point), 0)
            totals[group, point] = running
    return totals
