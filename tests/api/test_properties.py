"""Any small history, on the real engine, against plain Python; times, points and budgets by themselves."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.budgets import Budgets, Entry, Kind
from api.expected import ExpectedReader
from api.ledger import LedgerReader
from api.metrics import Limits, MetricReader
from api.reader import ClickHouseReader
from api.slices import Interval, Slice, bucket_sql, buckets, floor, following
from api.times import iso, parse
from schemas.clock import ManualClock
from schemas.metrics import Kind as MetricKind
from schemas.metrics import shipped_dictionary
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.exact import check
from tests.api.world import DAY, NOW, World, lines
from tests.oracle.metrics import Oracle, Scope

_numbers = itertools.count()
END = int(NOW * 1000)
_slow = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_slow
@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 60),
    few=st.fixed_dictionaries(
        {"users": st.integers(1, 3), "orders": st.integers(1, 3), "days": st.sampled_from((20, 300))}
    ),
    cut=st.integers(0, 20),
)
async def test_any_history_gives_the_metrics_of_plain_python(
    store: Warehouse,
    reader: ClickHouseReader,
    pack: Pack,
    seed: int,
    size: int,
    few: dict[str, int],
    cut: int,
) -> None:
    """Few users and orders, so that nearly everything is a repeat of something; all metrics, over weeks or months."""
    tenant = f"any-{next(_numbers)}"
    world = World(seed, **few)
    events = world.events(size)
    old = few["days"] > 28
    again = [*events, *events[: size // 3]]
    store.insert_lines("events", lines(again, pack, tenant, backfill=old, inserted_at=NOW))
    metrics = MetricReader(
        reader, LedgerReader(reader, ManualClock(NOW)), ExpectedReader(reader, ManualClock(NOW)), Limits(100, 100)
    )
    oracle, start = Oracle(events, known=END), END - (cut + 1) * few["days"] // 20 * DAY * 1000
    for metric in shipped_dictionary().metrics:
        if metric.kind in (MetricKind.EVALUATION, MetricKind.OPERATION, MetricKind.ATTRIBUTION):
            continue  # not of events, or by a walk of its own: test_attribution_spread.py
        if metric.id == "data_freshness" and old:
            continue  # a backfill is no measure of it
        answer = await metrics.answer(metric, Slice(tenant, start, END, {}), pack)
        check(answer, oracle, metric, Scope(start, END))


@given(st.sampled_from(list(Interval)), st.integers(0, 4_000_000_000_000))
def test_points_cover_time_without_gap_or_overlap(interval: Interval, ms: int) -> None:
    start = floor(interval, ms)
    end = following(interval, start)
    assert start <= ms < end and floor(interval, start) == start and floor(interval, end) == end
    assert floor(interval, end - 1) == start


@pytest.mark.parametrize("interval", list(Interval))
async def test_points_of_sql_and_python_agree(reader: ClickHouseReader, interval: Interval) -> None:
    """Over years, leap days and the turn of the century included."""
    moments = [n * 1_234_567_891 for n in range(1, 3_000)]
    moments += [-ms for ms in moments[:100]] if interval is not Interval.MONTH else []
    sql = (
        f"SELECT t, {bucket_sql(interval, 'timestamp')} FROM (SELECT arrayJoin({{ms:Array(Int64)}}) AS t, "
        "fromUnixTimestamp64Milli(t, 'UTC') AS timestamp)"
    )
    for ms, start in await reader.rows(sql, {"ms": moments}):
        assert int(start) == floor(interval, int(ms))


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    ms = int(datetime(2026, 11, 21, 9, 30, tzinfo=UTC).timestamp() * 1000)
    assert iso(floor(Interval.WEEK, ms)) == "2026-11-16T00:00:00.000Z"
    assert iso(floor(Interval.MONTH, ms)) == "2026-11-01T00:00:00.000Z"
    assert buckets(Interval.MONTH, ms - 60 * DAY * 1000, ms, 3) is not None
    assert buckets(Interval.MONTH, ms - 60 * DAY * 1000, ms, 2) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T09:00:00Z", "2026-11-21T09:00:00.000Z"),
        ("2026-11-21T09:00:00.1239+02:00", "2026-11-21T07:00:00.123Z"),
        ("2026-11-21T09:00:00 02:00", "2026-11-21T07:00:00.000Z"),
        ("2026-11-21", "2026-11-21T00:00:00.000Z"),
        ("1997-01-01", "1997-01-01T00:00:00.000Z"),
        ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500Z"),
        ("-24h", "2026-11-20T09:30:00.000Z"),
        ("-1w", "2026-11-14T09:30:00.000Z"),
        ("now", "2026-11-21T09:30:00.000Z"),
    ],
)
def test_times_are_read(text: str, expected: str) -> None:
    assert iso(parse(text, END)) == expected


@pytest.mark.parametrize(
    "text", ["", "24h", "-24", "-24y", "tomorrow", "2026-13-01", "-999999w", "0001-01-01", "1e9", "١"]
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must"):
        parse(text, END)


@given(st.text(max_size=40))
def test_reading_a_time_never_fails_otherwise(text: str) -> None:
    try:
        assert isinstance(parse(text, END), int)
    except ValueError as error:
        assert "must" in str(error)


def entry(kind: str, micros: int, campaign: str = "a", target: str = "") -> Entry:
    move = kind == "move"
    return Entry(0, Kind(move, kind == "approve"), "" if move else campaign, campaign if move else "", target, micros)


def test_budget_is_approved_over_initial_plus_moves() -> None:
    budgets = Budgets()
    steps: list[tuple[Entry, dict[str, int]]] = [
        (entry("initial", 100), {"a": 100}),
        (entry("move", 30, "a", "b"), {"a": 70, "b": 30}),
        (entry("approve", 80), {"a": 50, "b": 30}),
        (entry("initial", 500), {"a": 50, "b": 30}),
        (entry("move", 10, "b", "a"), {"a": 60, "b": 20}),
        (entry("approve", 0), {"a": -20, "b": 20}),
    ]
    for one, expected in steps:
        budgets.apply(one)
        assert {name: budget.micros for name, budget in budgets.campaigns.items()} == expected


class CountingReader:
    """Counts the reads that reach the engine."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.reads = inner, 0

    async def rows(self, sql: str, params: Any) -> Any:
        self.reads += 1
        return await self._inner.rows(sql, params)

    async def ping(self) -> bool:
        return True


async def test_completeness_of_one_range_is_read_once_for_a_page(reader: ClickHouseReader, tenant: str) -> None:
    """Fifteen metrics that ask at the same time share the answer; two seconds later it is read again."""
    import asyncio

    clock, counting = ManualClock(NOW), CountingReader(reader)
    book = LedgerReader(counting, clock)
    await asyncio.gather(*(book.completeness(tenant, END - DAY * 1000, END) for _ in range(15)))
    first = counting.reads
    assert first <= 6
    clock.advance(3)
    await book.completeness(tenant, END - DAY * 1000, END)
    assert counting.reads == first + 3, "what is settled is not read again"
