"""The query builder: every measure that a metric may name, as exact SQL over `events`.

A measure gives whole numbers (events, people, orders, millionths of money), so sums are the same in any order. `Cells`
hold them by group and point of the series; `None` stands for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from api.budgets import budget_cells
from api.reader import Reader
from api.selections import (
    BY_MESSAGE,
    NOT_HELD_OUT,
    Question,
    Rows,
    Select,
    became_customers,
    before_end,
    came_by_campaign,
    campaign_newcomers,
    clicks_after_messages,
    everything,
    followed,
    margins,
    newcomers,
    of_role,
    orders,
    signed_up,
)
from api.slices import Binder, Slice, bucket_sql, buckets, floor
from schemas.taxonomy.pack import Pack

Cells = dict[tuple[str | None, int | None], int]
"""(group, start of the point in ms) -> whole number. (None, None) is the total."""


@dataclass(frozen=True)
class Aggregate:
    """How rows become a number. `columns`: what it reads. `exact_rows`: whether a repeated row would change it."""

    sql: str
    columns: frozenset[str]
    exact_rows: bool


_EVENTS: Final = Aggregate("count()", frozenset(), True)
_USERS: Final = Aggregate("uniqExact(user_id)", frozenset({"user_id"}), False)
_REPEATERS: Final = Aggregate(
    "arrayCount(n -> n > 1, mapValues(sumMap(map(user_id, toUInt64(1)))))", frozenset({"user_id"}), True
)
_ORDERED: Final = Aggregate("uniqExactIf(user_id, ordered)", frozenset({"user_id"}), False)
_AMOUNT: Final = Aggregate("sum(toInt128(amount_micros))", frozenset({"amount_micros"}), True)


@dataclass(frozen=True)
class Measure:
    """One countable thing. `roles`: what the pack must declare for it to exist. `money`: millionths of the currency.

    `to_date`: counts everything before a point's end instead of what happened within it. `by_range`: what a row counts
    depends on the range, so that a whole is not the sum of its points and is read by itself.
    """

    id: str
    roles: tuple[str, ...]
    aggregate: Aggregate
    select: Select
    money: bool = False
    to_date: bool = False
    by_range: bool = False

    def known_to(self, pack: Pack) -> bool:
        """Whether the pack declares what this measure counts."""
        return all(pack.roles.get(role) for role in self.roles)


_CONVERTED: Final = orders("conversion", by_campaign=True)
_PURCHASED: Final = orders("purchase", by_campaign=False)
_SENT: Final = of_role("impression", NOT_HELD_OUT)
_YEAR: Final = followed(signed_up, 0, 365)
_MONTHS: Final = {days: followed(signed_up, days - 30, days, whole=True) for days in (30, 60, 90)}

MEASURES: Final[Mapping[str, Measure]] = {
    measure.id: measure
    for measure in (
        Measure("events", (), _EVENTS, everything),
        Measure("active_users", ("activity",), _USERS, of_role("activity")),
        Measure("impressions", ("impression",), _EVENTS, _SENT),
        Measure("sent_users", ("impression",), _USERS, _SENT),
        Measure("opened_users", ("open",), _USERS, of_role("open")),
        Measure("clicks", ("click",), _EVENTS, of_role("click")),
        Measure("clicking_users", ("click",), _USERS, of_role("click")),
        Measure("message_sent_users", ("sent",), _USERS, of_role("sent", BY_MESSAGE)),
        Measure("message_opened_users", ("message_open",), _USERS, of_role("message_open", BY_MESSAGE)),
        Measure("message_clicked_users", ("click", "message_open"), _USERS, clicks_after_messages),
        Measure("spend", ("spend",), _AMOUNT, of_role("spend"), money=True),
        Measure("spend_to_date", ("spend",), _AMOUNT, before_end("spend"), money=True, to_date=True),
        Measure("budget", ("budget",), _AMOUNT, before_end("budget"), money=True),
        Measure("purchases", ("purchase",), _EVENTS, _PURCHASED),
        Measure("revenue", ("purchase",), _AMOUNT, _PURCHASED, money=True),
        Measure("conversions", ("conversion",), _EVENTS, _CONVERTED),
        Measure("campaign_revenue", ("conversion",), _AMOUNT, _CONVERTED, money=True),
        Measure("converted_users", ("conversion",), _USERS, _CONVERTED),
        Measure("new_customers", ("purchase",), _USERS, newcomers),
        Measure("campaign_new_customers", ("purchase", "conversion"), _USERS, campaign_newcomers),
        Measure("buyers", ("purchase",), _USERS, _PURCHASED),
        Measure("repeat_buyers", ("purchase",), _REPEATERS, _PURCHASED),
        Measure("repeat_converted_users", ("conversion",), _REPEATERS, _CONVERTED),
        Measure("signed_up_users", ("signup", "purchase"), _USERS, _YEAR),
        Measure("first_year_revenue", ("signup", "purchase"), _AMOUNT, _YEAR, money=True),
        Measure("customer_first_year", ("purchase",), _AMOUNT, followed(became_customers, 0, 365), money=True),
        Measure(
            "campaign_customer_first_year",
            ("purchase", "conversion"),
            _AMOUNT,
            followed(came_by_campaign, 0, 365),
            money=True,
        ),
        Measure("margin", ("purchase", "cost", "spend", "impression"), _AMOUNT, margins, money=True, by_range=True),
        *(
            measure
            for days, select in _MONTHS.items()
            for measure in (
                Measure(f"signed_up_{days}_days_ago", ("signup", "purchase"), _USERS, select),
                Measure(f"buyers_by_day_{days}", ("signup", "purchase"), _ORDERED, select),
            )
        ),
    )
}


async def read_cells(
    reader: Reader, measures: Sequence[Measure], asked: Slice, pack: Pack, max_buckets: int
) -> list[Cells]:
    """The cells of each measure; those that count the same rows share one read. Empty groups and points are left out.

    Raises what the reader raises.
    """
    first = measures[0]
    if any(one.select is not first.select for one in measures):
        found = [read_cells(reader, [one], asked, pack, max_buckets) for one in measures]
        return [cells for (cells,) in await asyncio.gather(*found)]
    if first.by_range and asked.interval:
        whole = await read_cells(reader, measures, replace(asked, interval=None), pack, max_buckets)
        return [
            {**{key: n for key, n in cells.items() if key[1] is not None}, **totals}
            for cells, totals in zip(await _read(reader, measures, asked, pack), whole, strict=True)
        ]
    points = _points(asked, max_buckets)
    if first.id == "budget":
        return [await budget_cells(reader, asked, pack, points)]
    read = await _read(reader, measures, asked, pack)
    return [running_totals(cells, points) for cells in read] if first.to_date else read


async def _read(reader: Reader, measures: Sequence[Measure], asked: Slice, pack: Pack) -> list[Cells]:
    read: list[Cells] = [{} for _ in measures]
    for aggregated, group, point, *numbers in await reader.rows(*statement(measures, asked, pack)):
        key = cell_key(aggregated, group, point)
        for cells, n in zip(read, numbers, strict=True):
            cells[key] = int(n)
    return read


def statement(measures: Sequence[Measure], asked: Slice, pack: Pack) -> tuple[str, dict[str, object]]:
    """The SELECT of measures over the same rows, with its bound values: (aggregated bits, group, point, numbers…)."""
    bind = Binder()
    used = [measure.aggregate for measure in measures]
    columns = frozenset[str]().union(*(one.columns for one in used))
    rows = measures[0].select(bind, Question(asked, pack, columns, any(one.exact_rows for one in used)))
    return grouped(rows, asked, ", ".join(one.sql for one in used), _point(measures[0], asked)), bind.params


def grouped(rows: Rows, asked: Slice, numbers: str, point: str) -> str:
    """The SELECT of aggregates over rows, by the groups and points of a slice: (aggregated bits, group, point, …)."""
    where = " AND ".join(rows.conditions)
    keys, sets = _sets(asked)
    if not sets:
        return f"SELECT {keys}, {numbers} FROM {rows.source} WHERE {where}"
    group = f"toString({asked.group_by.value})" if asked.group_by else "''"
    inner = f"SELECT *, {group} AS g, {point} AS b FROM {rows.source} WHERE {where}"
    return f"SELECT {keys}, {numbers} FROM ({inner}) GROUP BY GROUPING SETS ({sets})"


def cell_key(aggregated: int, group: str, point: int) -> tuple[str | None, int | None]:
    """The key of `Cells` of a row of `grouped`. Bit 2 of `aggregated`: over all groups; bit 1: over all points."""
    return None if aggregated & 2 else group, None if aggregated & 1 else int(point)


def _sets(asked: Slice) -> tuple[str, str]:
    """The key columns of an answer, and the grouping sets, of a slice."""
    if asked.group_by and asked.interval:
        return "grouping(g, b), g, b", "(), (g), (b), (g, b)"
    if asked.group_by:
        return "1 + 2 * grouping(g), g, 0", "(), (g)"
    if asked.interval:
        return "2 + grouping(b), '', b", "(), (b)"
    return "3, '', 0", ""


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
