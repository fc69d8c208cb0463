"""Every metric, on the real engine, against sets and fractions in plain Python: `tests/oracle`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from api.expected import ExpectedReader
from api.ledger import LedgerReader
from api.measures import MEASURES
from api.metrics import Limits, MetricReader
from api.reader import ClickHouseReader
from api.slices import Interval, Slice, buckets, following
from schemas.clock import ManualClock
from schemas.metrics import Dimension, Kind, Metric, shipped_dictionary
from schemas.taxonomy import Pack
from tests.api.exact import check
from tests.api.world import DAY, NOW, World, lines
from tests.oracle.metrics import Oracle, Scope

METRICS = [
    metric
    for metric in shipped_dictionary().metrics
    if metric.kind not in (Kind.EVALUATION, Kind.OPERATION, Kind.ATTRIBUTION)
]
"""Those that are made of events."""
END = int(NOW * 1000)
DAY_MS = DAY * 1000
RANGES = {"all": (END - 40 * DAY_MS, END), "middle": (END - 12 * DAY_MS, END - 2 * DAY_MS)}
COHORT_MEASURES = {measure.id for measure in MEASURES.values() if "signup" in measure.roles}
COHORT_RANGES = {"all": (END - 700 * DAY_MS, END), "middle": (END - 420 * DAY_MS, END - 40 * DAY_MS)}
COHORTS = {"cac_payback", *(metric.id for metric in METRICS if metric.measures.denominator in COHORT_MEASURES)}
"""Metrics that follow people for months after their sign-up."""


@pytest.fixture
def metrics(reader: ClickHouseReader, clock: ManualClock) -> MetricReader:
    return MetricReader(
        reader, LedgerReader(reader, clock), ExpectedReader(reader, clock), Limits(buckets=10_000, groups=1000)
    )


class Case(NamedTuple):
    """What a metric is asked about: a tenant with events, what is true of them, and ranges that hold some."""

    tenant: str
    oracle: Oracle
    ranges: dict[str, tuple[int, int]]

    def asked(self, span: str, **more: Any) -> Slice:
        return Slice(self.tenant, *self.ranges[span], **{"filters": {}, "known_ms": END, **more})

    def scope(self, span: str) -> Scope:
        return Scope(*self.ranges[span])


@pytest.fixture(scope="module")
def stored(store: Any, pack: Pack) -> Callable[[Metric], Case]:
    """Tenants with events stored in odd batches, some of them twice, as after a replay: of weeks, and of years."""

    def put(tenant: str, world: World) -> Oracle:
        events = world.events(900) + world.costs(120)
        shuffled = events + world.rng.sample(events, 250)
        world.rng.shuffle(shuffled)
        for start in range(0, len(shuffled), 137):
            some, old = shuffled[start : start + 137], world.days > 28
            store.insert_lines("events", lines(some, pack, tenant, backfill=old, inserted_at=NOW))
        return Oracle(events, known=END)

    weeks = Case("weeks", put("weeks", World(7, orders=80)), RANGES)
    years = Case("years", put("years", World(8, days=600, users=150, orders=400)), COHORT_RANGES)
    return lambda metric: years if metric.id in COHORTS else weeks


Stored = Callable[[Metric], Case]

STORED_LATER = "data_freshness"
"""How long it took to store is another for the same events stored again."""


class WholeRangeOracle(Oracle):
    """Like the API in a series: a click counts when its message was opened before the end of the whole range."""

    def __init__(self, one: Oracle, end: int) -> None:
        self.__dict__ = {**one.__dict__, "end": end}

    def message_clickers(self, scope: Scope) -> set[str]:
        clicking = {(one.user_id, one.campaign_id) for one in self.clicks(scope)}
        opened = {
            (one.user_id, one.campaign_id) for one in self.messages(Scope(end=self.__dict__["end"]), "message_opened")
        }
        return {user for user, _ in clicking & opened}


@pytest.mark.parametrize("span", RANGES)
@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.id)
async def test_metric_equals_the_independent_computation(
    metrics: MetricReader, stored: Stored, pack: Pack, metric: Metric, span: str
) -> None:
    """To the last digit, over repeats, repeated orders and orders whose first event lies outside the range."""
    case = stored(metric)
    answer = await metrics.answer(metric, case.asked(span), pack)
    check(answer, case.oracle, metric, case.scope(span))
    assert answer["numerator"], "a test over nothing proves nothing"


@pytest.mark.parametrize(
    ("metric", "dimension"), [(m, d) for m in METRICS for d in m.dimensions], ids=lambda x: getattr(x, "id", str(x))
)
async def test_filter_and_split_equal_the_independent_computation(
    metrics: MetricReader, stored: Stored, pack: Pack, metric: Metric, dimension: Dimension
) -> None:
    """Each group of a split has the numbers of the same question with that group as a filter, and both are right."""
    case = stored(metric)
    answer = await metrics.answer(metric, case.asked("middle", group_by=dimension), pack, limit=1000)
    assert answer["groups"]
    check(answer, case.oracle, metric, case.scope("middle"))
    for group in answer["groups"]:
        filtered = await metrics.answer(metric, case.asked("middle", filters={dimension: group["group"]}), pack)
        for part in ("value", "numerator", "denominator"):
            assert group[part] == filtered[part], group
        if dimension is not Dimension.EVENT_TYPE:
            scope = case.scope("middle")._replace(**{dimension.value: group["group"]})
            check(group, case.oracle, metric, scope)


@pytest.mark.parametrize("interval", [Interval.HOUR, Interval.DAY, Interval.WEEK, Interval.MONTH])
@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.id)
async def test_each_point_of_a_series_is_the_metric_of_its_range(
    metrics: MetricReader, stored: Stored, pack: Pack, metric: Metric, interval: Interval
) -> None:
    """A point that the range cuts counts only what lies inside the range."""
    case = stored(metric)
    start, end = case.ranges["middle"]
    points = buckets(interval, start, end, 10_000)
    answer = await metrics.answer(metric, case.asked("middle", interval=interval), pack)
    assert points is not None and len(answer["series"]) == len(points)
    oracle = WholeRangeOracle(case.oracle, end)
    for point, at in zip(answer["series"], points, strict=True):
        check(point, oracle, metric, Scope(max(at, start), min(following(interval, at), end)))


@pytest.mark.parametrize(
    ("metric", "dimension"),
    [
        (metric, dimension)
        for metric in METRICS
        for dimension in (Dimension.CAMPAIGN, Dimension.SEGMENT)
        if dimension in metric.dimensions
    ],
    ids=lambda x: getattr(x, "id", str(x)),
)
async def test_split_series_equals_the_independent_computation(
    metrics: MetricReader, stored: Stored, pack: Pack, metric: Metric, dimension: Dimension
) -> None:
    case = stored(metric)
    start, end = case.ranges["middle"]
    question = case.asked("middle", group_by=dimension, interval=Interval.WEEK)
    answer = await metrics.answer(metric, question, pack, limit=1000)
    points = buckets(Interval.WEEK, start, end, 2000) or []
    oracle = WholeRangeOracle(case.oracle, end)
    assert answer["groups"]
    for group in answer["groups"]:
        named = {dimension.value: group["group"]}
        check(group, oracle, metric, case.scope("middle")._replace(**named))
        for point, at in zip(group["series"], points, strict=True):
            scope = Scope(max(at, start), min(following(Interval.WEEK, at), end), **named)
            check(point, oracle, metric, scope)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.id)
async def test_nothing_stored_is_null_and_no_error(
    metrics: MetricReader, tenant: str, pack: Pack, metric: Metric
) -> None:
    """A quotient over nothing is null; a count of nothing is 0."""
    answer = await metrics.answer(metric, Case(tenant, Oracle([]), RANGES).asked("all", interval=Interval.WEEK), pack)
    quotient = metric.measures.denominator is not None or metric.kind is not Kind.QUOTIENT
    assert answer["value"] == (None if quotient else 0)
    assert answer["numerator"] == 0 and answer["completeness"] == 100 and answer["as_of"] is None
    assert answer["status"] is None or not quotient


@pytest.mark.parametrize("seed", [11, 12])
async def test_order_and_repeats_change_nothing(
    metrics: MetricReader, insert: Callable[[str, list[Any]], None], pack: Pack, seed: int
) -> None:
    """The same events, shuffled, repeated and split otherwise, for two tenants: the same answers to the last digit."""
    world = World(seed)
    events = world.events(300)
    insert(f"plain-{seed}", events)
    again = events + world.rng.sample(events, 100)
    world.rng.shuffle(again)
    for start in range(0, len(again), 61):
        insert(f"shuffled-{seed}", again[start : start + 61])
    for metric in METRICS:
        if metric.id == STORED_LATER:
            continue
        split = metric.dimensions[0]
        answers = [
            await metrics.answer(
                metric, Case(tenant, Oracle([]), RANGES).asked("all", group_by=split, interval=Interval.WEEK), pack
            )
            for tenant in (f"plain-{seed}", f"shuffled-{seed}")
        ]
        for answer in answers:
            del answer["as_of"]
        assert answers[0] == answers[1]


async def test_a_month_ends_where_the_next_begins(metrics: MetricReader, store: Any, pack: Pack) -> None:
    """An order at the last second of a month, one at the first of the next, and one at the end of the year."""
    at = {"last": 30 * DAY - 1, "first": 30 * DAY, "year": 365 * DAY - 1, "later": 365 * DAY}
    base = {"session_id": "s", "source": "backend", "context": {}}
    events = []
    for user, seconds in at.items():
        joined = NOW - 400 * DAY
        events += [
            {**base, "event_id": f"joined-{user}", "event_type": "user_signed_up", "user_id": user,
             "timestamp": joined, "properties": {"acquisition_channel": "referral"}},
            {**base, "event_id": f"bought-{user}", "event_type": "user_purchased", "user_id": user,
             "timestamp": joined + seconds, "properties": {"order_value": 8.0}},
        ]  # fmt: skip
        events[-1]["properties"]["order_id"] = f"{len(events):08d}-0000-4000-8000-000000000000"
    store.insert_lines("events", lines(events, pack, "edges", backfill=True))
    case, found = Case("edges", Oracle(events, known=END), COHORT_RANGES), {}
    for metric in METRICS:
        if metric.id in COHORTS:
            found[metric.id] = answer = await metrics.answer(metric, case.asked("all"), pack)
            check(answer, case.oracle, metric, case.scope("all"))
    assert [found[name]["numerator"] for name in ("retention_30d", "retention_60d", "ltv")] == [1, 1, 24]
