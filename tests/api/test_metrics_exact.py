"""Every metric, on the real engine, against sets and fractions in plain Python: `tests/oracle`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from random import Random
from typing import Any, NamedTuple

import pytest

from api.expected import ExpectedReader
from api.ledger import LedgerReader
from api.measures import MEASURES
from api.metrics import Limits, MetricReader
from api.reader import ClickHouseReader
from api.slices import Interval, Slice
from schemas.clock import ManualClock
from schemas.metrics import Dimension, Kind, Metric, shipped_dictionary
from schemas.taxonomy import Pack
from tests.api.exact import check, sides, value_of
from tests.api.world import DAY, NOW, World, late_lines, lines
from tests.oracle.facts import milliseconds
from tests.oracle.flags import Point, far, points, standing
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

    def scope(self, span: str, **filters: Any) -> Scope:
        return Scope(*self.ranges[span], **filters)

    def values(self, dimension: Dimension) -> list[str]:
        """Everything that any event has in this dimension, the empty value included."""
        return sorted({getattr(one, dimension.value) for one in self.oracle.facts})


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
        return Oracle(events, known=END, stored={one["event_id"]: END for one in events})

    weeks = Case("weeks", put("weeks", World(7, orders=80)), RANGES)
    years = Case("years", put("years", World(8, days=600, users=150, orders=400)), COHORT_RANGES)
    return lambda metric: years if metric.id in COHORTS else weeks


Stored = Callable[[Metric], Case]


@pytest.fixture(scope="module")
def rush(store: Any, pack: Pack) -> Case:
    """Years of events, most of which happened within ninety minutes long ago, so that cohorts could be followed."""
    world, rng = World(9, days=600, users=300, orders=400), Random(9)
    start = END - 420 * DAY_MS + 12_345
    events = world.events(2_000) + world.costs(60)
    for one in events:
        if rng.random() < 0.6:
            one |= {"timestamp": (start + rng.randrange(90 * 60_000)) / 1000, "user_id": rng.choice(world.users[:80])}
    stored = {one["event_id"]: milliseconds(one["timestamp"]) + rng.randrange(600_000) for one in events}
    store.insert_lines("events", late_lines(events, pack, "rush", stored))
    return Case("rush", Oracle(events, known=END, stored=stored), {"rush": (start, start + 90 * 60_000)})


STORED_LATER = "data_freshness"
"""How long it took to store is another for the same events stored again."""


class WholeRangeOracle(Oracle):
    """Like the API in a series: a click counts when its message was opened before the end of the whole range."""

    def __init__(self, one: Oracle, end: int, known: int | None = None) -> None:
        self.__dict__ = {**one.__dict__, "end": end, "_known": known or one.known}

    def message_clickers(self, scope: Scope) -> set[str]:
        clicking = {(one.user_id, one.campaign_id) for one in self.clicks(scope)}
        opened = {
            (one.user_id, one.campaign_id) for one in self.messages(Scope(end=self.__dict__["end"]), "message_opened")
        }
        return {user for user, _ in clicking & opened}


def check_series(
    series: list[dict[str, Any]], expected: list[Point], oracle: Oracle, metric: Metric, scope: Scope | None = None
) -> None:
    """Each point by itself: its begin, and the metric of the part of it that the range holds."""
    for shown, point in zip(series, expected, strict=True):
        assert shown["start"] == point.text
        check(shown, oracle, metric, (scope or Scope())._replace(start=point.start, end=point.end))


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
        for part in group.keys() - {"group"}:
            assert group[part] == filtered[part], group
        check(group, case.oracle, metric, case.scope("middle", **{dimension.value: group["group"]}))


@pytest.mark.parametrize(
    ("metric", "chosen", "split"),
    [(metric, *pair) for metric in METRICS for pair in permutations(metric.dimensions, 2)],
    ids=lambda x: getattr(x, "id", str(x)),
)
async def test_split_under_a_filter_equals_the_independent_computation(
    metrics: MetricReader, stored: Stored, pack: Pack, metric: Metric, chosen: Dimension, split: Dimension
) -> None:
    """In total and by group; filtered by the values that most and fewest of what the metric counts has."""
    case = stored(metric)
    whole = await metrics.answer(metric, case.asked("middle", group_by=chosen), pack, limit=1000)
    found = 0
    for value in {whole["groups"][0]["group"], whole["groups"][-1]["group"]}:
        asked = case.asked("middle", filters={chosen: value}, group_by=split)
        answer = await metrics.answer(metric, asked, pack, limit=1000)
        scope = case.scope("middle", **{chosen.value: value})
        check(answer, case.oracle, metric, scope)
        found += bool(answer["numerator"])
        shown = [group["group"] for group in answer["groups"]]
        for name in case.values(split):
            part = case.scope("middle", **{chosen.value: value, split.value: name})
            if name in shown:
                check(answer["groups"][shown.index(name)], case.oracle, metric, part)
            else:
                assert not any(sides(case.oracle, metric, part)), name
    assert found, "a test over nothing proves nothing"


@pytest.mark.parametrize(
    ("metric", "dimension"), [(m, d) for m in METRICS for d in m.dimensions], ids=lambda x: getattr(x, "id", str(x))
)
async def test_groups_stand_in_order_and_a_limit_keeps_the_first(
    metrics: MetricReader, stored: Stored, pack: Pack, metric: Metric, dimension: Dimension
) -> None:
    """By numerator, then by denominator, both from the largest, then by name; no group that has anything is missing."""
    case = stored(metric)
    asked = case.asked("middle", group_by=dimension)
    answer = await metrics.answer(metric, asked, pack, limit=1000)
    shown = [group["group"] for group in answer["groups"]]
    known = {name: sides(case.oracle, metric, case.scope("middle", **{dimension.value: name}))
             for name in case.values(dimension)}  # fmt: skip
    assert {name for name, both in known.items() if any(both)} <= set(shown) <= known.keys()
    assert shown == sorted(shown, key=lambda name: (-known[name][0], -known[name][1], name))
    for limit in (1, 2):
        fewer = await metrics.answer(metric, asked, pack, limit=limit)
        assert fewer["groups"] == answer["groups"][:limit]


@pytest.mark.parametrize("interval", [Interval.HOUR, Interval.DAY, Interval.WEEK, Interval.MONTH])
@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.id)
async def test_each_point_of_a_series_is_the_metric_of_its_range(
    metrics: MetricReader, stored: Stored, pack: Pack, metric: Metric, interval: Interval
) -> None:
    """A point that the range cuts counts only what lies inside the range."""
    case = stored(metric)
    start, end = case.ranges["middle"]
    answer = await metrics.answer(metric, case.asked("middle", interval=interval), pack)
    check_series(answer["series"], points(interval.value, start, end), WholeRangeOracle(case.oracle, end), metric)


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
    oracle, weeks = WholeRangeOracle(case.oracle, end), points("week", start, end)
    assert answer["groups"]
    for group in answer["groups"]:
        scope = case.scope("middle", **{dimension.value: group["group"]})
        check(group, oracle, metric, scope)
        check_series(group["series"], weeks, oracle, metric, scope)


@pytest.mark.parametrize("interval", [Interval.MINUTE, Interval.FIVE_MINUTES])
@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.id)
async def test_each_minute_is_the_metric_of_its_range(
    metrics: MetricReader, rush: Case, pack: Pack, metric: Metric, interval: Interval
) -> None:
    start, end = rush.ranges["rush"]
    answer = await metrics.answer(metric, rush.asked("rush", interval=interval), pack)
    check_series(answer["series"], points(interval.value, start, end), WholeRangeOracle(rush.oracle, end), metric)
    counted = [one for one in answer["series"] if one["numerator"] or one["denominator"] or one.get("treated_users")]
    assert len(counted) > (0 if interval is Interval.MINUTE else 4), "a test over nothing proves nothing"


@pytest.mark.parametrize("interval", [Interval.HOUR, Interval.DAY, Interval.WEEK])
@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.id)
async def test_points_are_judged_as_the_definition_says(
    metrics: MetricReader, stored: Stored, pack: Pack, metric: Metric, interval: Interval
) -> None:
    """Cut by the range or by the present: `partial`, and judged by nobody. Far from the others: `outlier`.

    The points of a group among those of this group.
    """
    case = stored(metric)
    start, end = case.ranges["middle"]
    now, split = end - 20 * 3_600_000, metric.dimensions[0] if interval is Interval.DAY else None
    asked = case.asked("middle", interval=interval, known_ms=now, group_by=split)
    answer = await metrics.answer(metric, asked, pack, limit=3)
    oracle = WholeRangeOracle(case.oracle, end, known=now)
    expected = points(interval.value, start, end)
    partial = [point.begins < start or point.ends > min(end, now) for point in expected]
    assert any(partial) and (interval is Interval.WEEK or not all(partial))
    for one in (answer, *answer["groups"]):
        scope = Scope(**{split.value: one["group"]}) if split and "group" in one else Scope()
        assert [shown["partial"] for shown in one["series"]] == partial
        values = [value_of(oracle, metric, scope._replace(start=point.start, end=point.end)) for point in expected]
        judged = [None if cut else value for value, cut in zip(values, partial, strict=True)]
        assert [shown["outlier"] for shown in one["series"]] == far(judged)


async def test_some_points_are_outliers_by_either_measure(metrics: MetricReader, stored: Stored, pack: Pack) -> None:
    """What the test of their definition is about: a spread of distances, and more than half of the points equal."""
    for name in ("events", "impressions"):
        metric = next(one for one in METRICS if one.id == name)
        answer = await metrics.answer(metric, stored(metric).asked("middle", interval=Interval.HOUR), pack)
        assert any(one["outlier"] for one in answer["series"]), name


async def test_the_status_is_where_the_dictionary_puts_the_value(
    metrics: MetricReader, stored: Stored, pack: Pack
) -> None:
    seen = set()
    for metric in METRICS:
        case = stored(metric)
        for span in case.ranges:
            answer = await metrics.answer(metric, case.asked(span), pack)
            value = value_of(case.oracle, metric, case.scope(span))
            assert answer["status"] == standing(value, metric.healthy.min, metric.healthy.max), (metric.id, value)
            assert answer["healthy"] == {"min": metric.healthy.min, "max": metric.healthy.max}
            seen.add(answer["status"])
    assert seen == {"low", "high", "healthy", None}


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
    events: list[Any] = []
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
