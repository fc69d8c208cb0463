"""Reading journeys: the touches before each order, and those that came to nothing, as distinct paths with counts.

An order counts once, at its first event, if that lies in the range. Its touches are those of the same user from
`lookback_ms` before it up to it, both included, in the order of (timestamp, event_id). A user who touched in the range
and has no order in it is a journey to nothing: the touches of the look-back before the last one. ClickHouse adds the
journeys up; time decay gives whole billionths of each order, so that no order of addition changes a digit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from api.attribution.asked import DAY_MS, Asked, By
from api.attribution.models import UNITS, Path
from api.reader import Reader, Row
from api.slices import Binder, filter_where
from api.sources import events_where, order_rows

CONVERSIONS, REVENUE, NEWCOMERS = range(3)
"""The totals of a path: orders, what was paid for them (millionths), and how many were their users' first ever."""
SHARES: Final = {"median": 0.5, "p90": 0.9}


@dataclass(frozen=True)
class Observed:
    """A number of each attributed order: how many, quantiles and bars in its unit. Bars: (begin, count)."""

    count: int
    quantiles: Mapping[str, float | None]
    bars: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Journeys:
    """Everything that was read. `unattributed`: totals of the orders without a touch. `shortened`: journeys cut."""

    paths: Sequence[Path]
    unattributed: tuple[int, int, int]
    shortened: int
    touches: Observed
    days: Observed


async def read_journeys(reader: Reader, asked: Asked) -> Journeys:
    """The journeys of a range. Raises what the reader raises; `TooMuch` where there are too many distinct paths."""
    found, (seen,) = await asyncio.gather(
        reader.rows(*paths_statement(asked)), reader.rows(*distributions_statement(asked))
    )
    paths, unattributed, shortened = [], (0, 0, 0), 0
    for steps, conversions, paid, newcomers, nulls, cut, *decayed in found:
        totals = int(conversions), int(paid), int(newcomers)
        shortened += int(cut)
        if not steps:
            unattributed = totals
            continue
        parts = tuple((int(a), int(b), int(c)) for a, b, c in zip(*decayed, strict=True))
        paths.append(Path(tuple(steps), totals, int(nulls), parts))
    paths.sort()
    edges = asked.rules.histograms
    touches, days = _observed(seen[:3], edges.touches, 1), _observed([seen[0], *seen[3:]], edges.days, DAY_MS)
    return Journeys(paths, unattributed, shortened, touches, days)


def _observed(row: Row, edges: Sequence[int], per: int) -> Observed:
    count, quantiles, bars = row
    shown = {name: float(n) / per if count else None for name, n in zip(SHARES, quantiles, strict=True)}
    return Observed(int(count), shown, [(edge, int(bars.get(at, 0))) for at, edge in enumerate(edges, 1)])


def paths_statement(asked: Asked) -> tuple[str, dict[str, Any]]:
    """The SELECT of distinct paths: steps, totals, nulls, how many were cut, and what time decay gives each step."""
    bind = Binder()
    most, half_life = bind(asked.rules.max_touches, "UInt32"), bind(asked.half_life_ms, "Int64")
    kept = f"if(length(touched) > {most}, arrayConcat([touched[1]], arraySlice(touched, 1 - {most})), touched)"
    weighed = (
        f"SELECT ordered, paid, newcomer, {kept} AS kept, length(touched) > {most} AS cut, "
        f"arrayMap(one -> exp2((one.1 - kept[-1].1) / {half_life}), kept) AS weights, arraySum(weights) AS whole "
        f"FROM {_journeys(bind, asked)}"
    )
    rounded = f"arrayPopBack(arrayMap(one -> toInt128(floor(one / whole * {UNITS})), weights))"
    decayed = (
        "SELECT ordered, paid, newcomer, cut, arrayMap(one -> one.3, kept) AS path, "
        f"{rounded} AS others, if(empty(path), [], arrayPushBack(others, {UNITS} - arraySum(others))) AS parts "
        f"FROM ({weighed})"
    )
    return (
        "SELECT path, sum(ordered), sum(paid), sum(newcomer), countIf(ordered = 0), countIf(cut), "
        "sumForEach(arrayMap(one -> one * ordered, parts)), sumForEach(arrayMap(one -> one * paid, parts)), "
        f"sumForEach(arrayMap(one -> one * newcomer, parts)) FROM ({decayed}) GROUP BY path",
        bind.params,
    )


def distributions_statement(asked: Asked) -> tuple[str, dict[str, Any]]:
    """The SELECT of one row: attributed orders; quantiles and bars of their touches; the same of the ms they took."""
    bind = Binder()
    edges = asked.rules.histograms
    numbers = "SELECT length(touched) AS touches, toUnixTimestamp64Milli(at) - touched[1].1 AS waited"
    rows = f"({numbers} FROM {_journeys(bind, asked)} WHERE ordered = 1 AND notEmpty(touched))"
    shares = ", ".join(map(str, SHARES.values()))

    def bars(column: str, starts: list[int]) -> str:
        place = f"arrayCount(edge -> edge <= {column}, {bind(starts, 'Array(Int64)')})"
        return f"sumMap(map({place}, toUInt64(1)))"

    shown = [
        f"quantilesExactInclusive({shares})({column}), {bars(column, starts)}"
        for column, starts in (("touches", list(edges.touches)), ("waited", [day * DAY_MS for day in edges.days]))
    ]
    return f"SELECT count(), {', '.join(shown)} FROM {rows}", bind.params


def _journeys(bind: Binder, asked: Asked) -> str:
    """A subquery of journeys: `at`, `ordered` (0 or 1), `paid`, `newcomer`, and `touched`: (ms, event_id, step)."""
    start, lookback = bind(asked.slice.start_ms, "Int64"), bind(asked.lookback_ms, "Int64")
    orders, people = _orders(bind, asked), _people(bind, asked)
    ordered = (
        "SELECT o.timestamp AS at, toInt128(1) AS ordered, toInt128(o.amount_micros) AS paid, "
        "toInt128(o.newcomer) AS newcomer, toUnixTimestamp64Milli(o.timestamp) AS ms, "
        f"arrayFilter(one -> one.1 <= ms AND one.1 >= ms - {lookback}, p.touches) AS touched "
        f"FROM {orders} AS o LEFT JOIN {people} AS p ON o.user_id = p.user_id "
        f"WHERE {_segment(bind, asked, 'o.')}"
    )
    idle = (
        "SELECT fromUnixTimestamp64Milli(toInt64(0), 'UTC') AS at, toInt128(0) AS ordered, toInt128(0) AS paid, "
        "toInt128(0) AS newcomer, touches[-1].1 AS ms, "
        f"arrayFilter(one -> one.1 >= ms - {lookback}, touches) AS touched "
        f"FROM {people} WHERE user_id NOT IN (SELECT user_id FROM {orders}) AND ms >= {start} "
        f"AND {_segment(bind, asked, '')}"
    )
    return f"(SELECT at, ordered, paid, newcomer, touched FROM ({ordered} UNION ALL {idle}))"


def _segment(bind: Binder, asked: Asked, of: str) -> str:
    wanted = [filter_where(bind, dimension, value, of) for dimension, value in asked.slice.filters.items()]
    return " AND ".join(wanted) or "1"


def _orders(bind: Binder, asked: Asked) -> str:
    """A subquery of the orders of the range: `timestamp`, `user_id`, `amount_micros`, `segment`, `newcomer`."""
    one = asked.slice
    columns = ("user_id", "event_id", "amount_micros", "segment")
    purchases = asked.pack.roles["purchase"]
    ever = order_rows(bind, one.tenant, purchases, columns, before_ms=one.end_ms, by_campaign=False)
    first = f"(SELECT user_id, min((timestamp, event_id)) AS first FROM {ever} GROUP BY user_id)"
    return (
        "(SELECT timestamp, user_id, amount_micros, segment, "
        f"(user_id, (timestamp, event_id)) IN (SELECT user_id, first FROM {first}) AS newcomer "
        f"FROM {ever} WHERE {bind.since(one.start_ms)})"
    )


def _people(bind: Binder, asked: Asked) -> str:
    """A subquery of users with their `touches` in order, (ms, event_id, step) each, and the `segment` of the last."""
    touches = _by_campaign(bind, asked) if asked.by is By.CAMPAIGN else _by_channel(bind, asked)
    return (
        "(SELECT user_id, arraySort(groupArray((ms, event_id, step))) AS touches, "
        f"argMax(segment, (ms, event_id)) AS segment FROM {touches} GROUP BY user_id)"
    )


def _touches(bind: Binder, asked: Asked, *columns: str) -> str:
    within = bind.within(asked.slice.start_ms - asked.lookback_ms, asked.slice.end_ms)
    named = "".join(f", toString({column}) AS {column}_of" for column in columns)
    return (
        "SELECT user_id, timestamp, toUnixTimestamp64Milli(timestamp) AS ms, event_id, toString(segment) AS segment"
        f"{named} FROM events FINAL WHERE {events_where(bind, asked.slice.tenant, asked.touches)} "
        f"AND NOT is_holdout AND {within}"
    )


def _by_campaign(bind: Binder, asked: Asked) -> str:
    rows = _touches(bind, asked, "campaign_id")
    return f"(SELECT user_id, ms, event_id, segment, campaign_id_of AS step FROM ({rows}) WHERE step != '')"


def _by_channel(bind: Binder, asked: Asked) -> str:
    """Touches with their own channel, else that of the campaign's newest sign to the user up to the touch."""
    tenant, source = asked.slice.tenant, asked.rules.channel
    reach = source.days * DAY_MS
    within = bind.within(asked.slice.start_ms - asked.lookback_ms - reach, asked.slice.end_ms)
    signs = (
        "SELECT user_id, toString(campaign_id) AS campaign, timestamp, "
        "argMax(toString(channel), event_id) AS sign FROM events "
        f"WHERE {events_where(bind, tenant, asked.channel_events)} AND NOT is_holdout AND channel != '' "
        f"AND campaign_id != '' AND {within} "
        "GROUP BY user_id, campaign, timestamp"
    )
    near = f"s.sign != '' AND s.timestamp >= t.timestamp - toIntervalDay({source.days})"
    step = f"multiIf(t.channel_of != '', t.channel_of, {near}, s.sign, {bind(source.unknown)})"
    return (
        f"(SELECT t.user_id AS user_id, t.ms AS ms, t.event_id AS event_id, t.segment AS segment, {step} AS step "
        f"FROM ({_touches(bind, asked, 'channel', 'campaign_id')}) AS t ASOF LEFT JOIN ({signs}) AS s "
        "ON t.user_id = s.user_id AND t.campaign_id_of = s.campaign AND t.timestamp >= s.timestamp)"
    )
