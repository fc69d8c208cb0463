"""The query builder: every measure that a metric may name, as exact SQL over `events`.

A measure gives whole numbers (events, people, orders, millionths of money), so sums are the same in any order. `Cells`
hold them by group and point of the series.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

from api.budgets import budget_cells
from api.cells import Cells
from api.reader import Reader
from api.rollups import families
from api.rollups.coverage import Coverage
from api.rollups.families import Family
from api.rollups.followed import followed_roster
from api.rollups.read import EVENTS, MICROS, USERS, plan
from api.rollups.read import statement as rolled_statement
from api.selections import (
    Followed,
    Question,
    Rows,
    Select,
    became_customers,
    before_end,
    came_by_campaign,
    campaign_newcomers,
    clicks_after_messages,
    margins,
    signed_up,
)
from api.slices import Binder, Slice, bucket_sql, buckets, floor
from schemas.taxonomy.pack import Pack


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
    depends on the range, so that a whole is not the sum of its points and is read by itself. `family`: the rollups that
    hold it.
    """

    id: str
    roles: tuple[str, ...]
    aggregate: Aggregate
    select: Select
    money: bool = False
    to_date: bool = False
    by_range: bool = False
    family: Family | None = None

    def known_to(self, pack: Pack) -> bool:
        """Whether the pack declares what this measure counts."""
        return all(pack.roles.get(role) for role in self.roles)


def _rolled(name: str, aggregate: Aggregate, family: Family) -> Measure:
    return Measure(name, family.roles, aggregate, family.select, money=aggregate is _AMOUNT, family=family)


_ROLLED: Final = {_EVENTS.sql: EVENTS, _USERS.sql: USERS, _AMOUNT.sql: MICROS}
"""What each aggregate is in a rollup; the others cannot be put together from days."""
_FOLLOWED: Final = {
    _USERS.sql: "uniqExactIf(number, begun)",
    _ORDERED.sql: "uniqExactIf(number, ordered)",
    _AMOUNT.sql: "sumIf(toInt128(amount_micros), ordered)",
}
"""What each aggregate is over the rows of `followed_roster`."""
_YEAR: Final = Followed(signed_up, 0, 365)
_MONTHS: Final = {days: Followed(signed_up, days - 30, days, whole=True) for days in (30, 60, 90)}

MEASURES: Final[Mapping[str, Measure]] = {
    measure.id: measure
    for measure in (
        _rolled("events", _EVENTS, families.EVERYTHING),
        _rolled("active_users", _USERS, families.ACTIVE),
        _rolled("impressions", _EVENTS, families.SENT),
        _rolled("sent_users", _USERS, families.SENT),
        _rolled("opened_users", _USERS, families.OPENED),
        _rolled("clicks", _EVENTS, families.CLICKED),
        _rolled("clicking_users", _USERS, families.CLICKED),
        _rolled("message_sent_users", _USERS, families.MESSAGE_SENT),
        _rolled("message_opened_users", _USERS, families.MESSAGE_OPENED),
        Measure("message_clicked_users", ("click", "message_open"), _USERS, clicks_after_messages),
        _rolled("spend", _AMOUNT, families.SPENT),
        Measure(
            "spend_to_date", ("spend",), _AMOUNT, before_end("spend"), money=True, to_date=True, family=families.SPENT
        ),
        Measure("budget", ("budget",), _AMOUNT, before_end("budget"), money=True),
        _rolled("purchases", _EVENTS, families.PURCHASED),
        _rolled("revenue", _AMOUNT, families.PURCHASED),
        _rolled("conversions", _EVENTS, families.CONVERTED),
        _rolled("campaign_revenue", _AMOUNT, families.CONVERTED),
        _rolled("converted_users", _USERS, families.CONVERTED),
        _rolled("sessions", _EVENTS, families.SESSIONS),
        _rolled("session_users", _USERS, families.SESSIONS),
        _rolled("timed_sessions", _EVENTS, families.SESSION_DAYS),
        _rolled("session_seconds", _AMOUNT, families.SESSION_DAYS),
        _rolled("signups", _USERS, families.SIGNED_UP),
        _rolled("new_customers", _USERS, families.NEWCOMERS),
        Measure("campaign_new_customers", ("purchase", "conversion"), _USERS, campaign_newcomers),
        _rolled("buyers", _USERS, families.PURCHASED),
        Measure("repeat_buyers", ("purchase",), _REPEATERS, families.PURCHASED.select),
        Measure("repeat_converted_users", ("conversion",), _REPEATERS, families.CONVERTED.select),
        Measure("signed_up_users", ("signup", "purchase"), _USERS, _YEAR),
        Measure("first_year_revenue", ("signup", "purchase"), _AMOUNT, _YEAR, money=True),
        Measure("customer_first_year", ("purchase",), _AMOUNT, Followed(became_customers, 0, 365), money=True),
        Measure(
            "campaign_customer_first_year",
            ("purchase", "conversion"),
            _AMOUNT,
            Followed(came_by_campaign, 0, 365),
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
    reader: Reader,
    measures: Sequence[Measure],
    asked: Slice,
    pack: Pack,
    max_buckets: int,
    covered: Coverage | None = None,
) -> list[Cells]:
    """The cells of each measure; those that count the same rows share one read. Empty groups and points are left out.

    `covered`: the rollups that may be used. Raises what the reader raises.
    """
    first = measures[0]
    if any(one.select is not first.select for one in measures):
        found = [read_cells(reader, [one], asked, pack, max_buckets, covered) for one in measures]
        return [cells for (cells,) in await asyncio.gather(*found)]
    if first.by_range and asked.interval:
        whole = await read_cells(reader, measures, replace(asked, interval=None), pack, max_buckets)
        return [
            cells.with_totals(totals)
            for cells, totals in zip(await _read(reader, measures, asked, pack, None), whole, strict=True)
        ]
    points = _points(asked, max_buckets)
    if first.id == "budget":
        return [await budget_cells(reader, asked, pack, points)]
    read = await _read(reader, measures, asked, pack, covered)
    return [running_totals(cells, points) for cells in read] if first.to_date else read


async def _read(
    reader: Reader, measures: Sequence[Measure], asked: Slice, pack: Pack, covered: Coverage | None
) -> list[Cells]:
    read = [Cells() for _ in measures]
    asking = (
        _from_rosters(measures, asked, pack, covered)
        or _from_rollups(measures, asked, pack, covered)
        or statement(measures, asked, pack)
    )
    for over_all, group, points, *numbers in await reader.rows(*asking):
        for cells, (whole, series) in zip(read, zip(numbers[::2], numbers[1::2], strict=True), strict=True):
            cells.put_row(None if over_all else group, points, [*map(int, series)], int(whole))
    return read


def _rolled_number(measure: Measure) -> str:
    once = measure.family is not None and measure.family.once
    return EVENTS if once and measure.aggregate is _USERS else _ROLLED[measure.aggregate.sql]


def _from_rollups(
    measures: Sequence[Measure], asked: Slice, pack: Pack, covered: Coverage | None
) -> tuple[str, dict[str, object]] | None:
    numbers = [_rolled_number(one) for one in measures if one.family and one.aggregate.sql in _ROLLED]
    if len(numbers) < len(measures):
        return None
    made = plan(measures[0].family, asked, covered, to_date=measures[0].to_date)
    return rolled_statement(made, pack, numbers) if made else None


def _from_rosters(
    measures: Sequence[Measure], asked: Slice, pack: Pack, covered: Coverage | None
) -> tuple[str, dict[str, object]] | None:
    """The SELECT of what follows users, where nothing but the time is asked for."""
    select, numbers = measures[0].select, [_FOLLOWED.get(one.aggregate.sql) for one in measures]
    if covered is None or asked.filters or asked.group_by or not isinstance(select, Followed) or None in numbers:
        return None
    bind = Binder()
    rows = followed_roster(bind, select, asked, pack, covered)
    if rows is None:
        return None
    return _packed(rows, asked, [*filter(None, numbers)], _point(measures[0], asked)), bind.params


def statement(measures: Sequence[Measure], asked: Slice, pack: Pack) -> tuple[str, dict[str, object]]:
    """The SELECT of measures over the same rows, with its bound values. A row for all, and one for each group: whether
    it is of all, the group, its points, and of each measure the number of the whole range and those of the points.
    """
    bind = Binder()
    used = [measure.aggregate for measure in measures]
    columns = frozenset[str]().union(*(one.columns for one in used))
    rows = measures[0].select(bind, Question(asked, pack, columns, any(one.exact_rows for one in used)))
    return _packed(rows, asked, [one.sql for one in used], _point(measures[0], asked)), bind.params


def _packed(rows: Rows, asked: Slice, numbers: Sequence[str], point: str) -> str:
    """`grouped`, with the points of each group in arrays: that is a tenth of the work for who reads them."""
    names = [f"n{at}" for at in range(len(numbers))]
    named = ", ".join(f"{number} AS {name}" for number, name in zip(numbers, names, strict=True))
    found = ", ".join(f"sumIf({name}, whole), groupArrayIf({name}, NOT whole)" for name in names)
    return (
        f"SELECT over_all, g, groupArrayIf(b, NOT whole), {found} FROM (SELECT bitTest(told, 1) AS over_all, "
        f"bitTest(told, 0) = 1 AS whole, told_group AS g, told_point AS b, {', '.join(names)} "
        f"FROM ({grouped(rows, asked, named, point)})) GROUP BY over_all, g"
    )


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
    names = "{} AS told, {} AS told_group, {} AS told_point"
    if asked.group_by and asked.interval:
        return names.format("grouping(g, b)", "g", "b"), "(), (g), (b), (g, b)"
    if asked.group_by:
        return names.format("1 + 2 * grouping(g)", "g", "0"), "(), (g)"
    if asked.interval:
        return names.format("2 + grouping(b)", "''", "b"), "(), (b)"
    return names.format("3", "''", "0"), ""


def _point(measure: Measure, asked: Slice) -> str:
    if asked.interval is None:
        return "toInt64(0)"
    point = bucket_sql(asked.interval)
    return f"greatest({point}, toInt64({floor(asked.interval, asked.start_ms)}))" if measure.to_date else point


def _points(asked: Slice, most: int) -> list[int]:
    return (buckets(asked.interval, asked.start_ms, asked.end_ms, most) or []) if asked.interval else []


def running_totals(cells: Cells, points: Sequence[int]) -> Cells:
    """What each point adds, as what there is at its end; points without news repeat the one before."""
    totals: dict[str | None, dict[int | None, int]] = {}
    for group in cells:
        running = accumulate(cells.along(group, points))
        totals[group] = {**dict(zip(points, running, strict=True)), None: cells.at(group)}
    return Cells(totals)
