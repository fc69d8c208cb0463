"""Beside the number: an earlier period, outliers of a series, how old the data is and how much of it is usual."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from api.comparison import Against, compared, earlier, year_before
from api.outliers import outliers
from api.slices import Slice
from schemas.metrics import Kind, Metric, shipped_dictionary
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api import rows
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.exact import check, check_comparison, sides, value_of
from tests.api.world import DAY, NOW, World, late_lines
from tests.oracle.facts import facts
from tests.oracle.metrics import Oracle, Scope

Insert = Callable[[str, list[Any]], None]
WEEK = 7 * DAY


@pytest.fixture
def reconciled_until(store: Warehouse) -> Iterator[Callable[[float], None]]:
    """Says how far the reconciliation is: for all tenants of the warehouse, so it is forgotten after the test."""
    yield lambda at: rows.put(store, "reconciliation", _reconciled("", at, 1, what="round"))
    store.command("ALTER TABLE reconciliation DELETE WHERE tenant = '' SETTINGS mutations_sync = 2")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


COMPARED = [
    metric
    for metric in shipped_dictionary().metrics
    if metric.kind not in (Kind.EVALUATION, Kind.OPERATION, Kind.ATTRIBUTION)
]


class Years(NamedTuple):
    """A tenant with events of a quarter and of the one a year before, each stored late by a time of its own."""

    tenant: str
    events: list[Any]
    stored: dict[str, int]

    def oracle(self, known: int) -> Oracle:
        return Oracle(self.events, known=known, stored=self.stored)


@pytest.fixture(scope="module")
def years(store: Warehouse, pack: Pack) -> Years:
    world = World(65, days=220, users=60, orders=500)
    events = world.events(2_000) + world.costs(150)
    for one in world.rng.sample(events, len(events) // 2):
        one["timestamp"] = when(ms(one["timestamp"].removesuffix("Z")) / 1000 - 365 * DAY)
    events += [one for n in range(200) for one in _newcomer(world, f"new-{n}")]
    seconds = (0.5, 9.0, 59.9, 301.0, 3_599.0, 15_000.0)
    stored = {one.event_id: one.ms + int(1000 * world.rng.choice(seconds)) for one in facts(events)}
    store.insert_lines("events", late_lines(events + events[:200], pack, "years-apart", stored))
    return Years("years-apart", events, stored)


def _newcomer(world: World, user: str) -> Iterator[Any]:
    """Somebody who signed up long enough ago that three months of theirs are over, and who bought in some of them."""
    joined = NOW - world.rng.randrange(92 * DAY, 500 * DAY)
    came = {"acquisition_channel": world.rng.choice(("paid_search", "referral")), "campaign_id": world.campaigns[0]}
    yield {**world.event(), "event_type": "user_signed_up", "user_id": user, "timestamp": joined, "properties": came}
    for month in range(3):
        if world.rng.random() < 0.6:
            order = {"order_id": world.uuid(), "order_value": world.rng.randrange(10_000) / 100}
            at = joined + month * 30 * DAY + world.rng.randrange(30 * DAY)
            bought = {"event_type": "user_purchased", "user_id": user, "timestamp": at, "properties": order}
            yield {**world.event(), **bought}


class Compared(NamedTuple):
    """Ranges in seconds: what is asked about, and what it is held against."""

    against: str
    start: float
    end: float
    before: float
    until: float

    @property
    def back_ms(self) -> int:
        return int((self.end - self.until) * 1000)

    def scopes(self, **filters: Any) -> tuple[Scope, Scope]:
        ranges = (self.start, self.end), (self.before, self.until)
        now, then = (Scope(int(start * 1000), int(end * 1000), **filters) for start, end in ranges)
        return now, then


COMPARISONS = [
    Compared("previous_period", NOW - 112 * DAY, NOW - 2 * DAY, NOW - 222 * DAY, NOW - 112 * DAY),
    # No 29 February lies between them.
    Compared("previous_year", NOW - 112 * DAY, NOW - 2 * DAY, NOW - 477 * DAY, NOW - 367 * DAY),
]


@pytest.mark.parametrize("asked", COMPARISONS, ids=lambda one: one.against)
@pytest.mark.parametrize("metric", COMPARED, ids=lambda one: one.id)
async def test_every_metric_beside_an_earlier_range_is_what_the_oracle_says_of_both(
    site: Site, years: Years, metric: Metric, asked: Compared
) -> None:
    """In total and by each dimension; cohorts of the earlier range are followed for as long as those of the later."""
    for split in metric.dimensions:
        answer = await get(
            site, years.tenant, f"/metrics/{metric.id}", start=when(asked.start), end=when(asked.end),
            compare=asked.against, group_by=split.value, limit=1000,
        )  # fmt: skip
        known = int(site.clock.now() * 1000)
        now, then = years.oracle(known), years.oracle(known - asked.back_ms)
        _check_beside(answer, metric, now, then, asked.scopes())
        assert [ms(answer["comparison"][name].removesuffix("Z")) for name in ("start", "end")] == [
            int(asked.before * 1000), int(asked.until * 1000)
        ]  # fmt: skip
        assert answer["numerator"] and answer["comparison"]["numerator"], "a test over nothing proves nothing"
        assert answer["comparison"]["change"] is not None
        shown = {group["group"]: group for group in answer["groups"]}
        for name in {getattr(one, split.value) for one in now.facts}:
            scopes = asked.scopes(**{split.value: name})
            if name in shown:
                _check_beside(shown.pop(name), metric, now, then, scopes)
            else:
                assert not any((*sides(now, metric, scopes[0]), *sides(then, metric, scopes[1]))), name
        assert not shown


def _check_beside(
    answer: dict[str, Any], metric: Metric, now: Oracle, then: Oracle, scopes: tuple[Scope, Scope]
) -> None:
    check(answer, now, metric, scopes[0])
    check_comparison(answer["comparison"], value_of(now, metric, scopes[0]), then, metric, scopes[1])


async def test_groups_are_compared_also_those_that_are_gone(site: Site, tenant: str, insert: Insert) -> None:
    world = World(62)
    first, second = world.campaigns[:2]

    def clicks(campaign: str, n: int, at: float) -> list[Any]:
        made = [world.event() for _ in range(n)]
        click = {"event_type": "campaign_clicked", "properties": {"campaign_id": campaign}}
        return [{**one, **click, "timestamp": when(at)} for one in made]

    shown = {"event_type": "campaign_delivered", "properties": {"campaign_id": first}}
    sent = [{**world.event(), **shown, "timestamp": when(at)} for at in (NOW - 3600, NOW - 1.5 * DAY)]
    insert(tenant, clicks(first, 3, NOW - 3600) + clicks(first, 2, NOW - 1.5 * DAY) + clicks(second, 1, NOW - DAY - 60))
    insert(tenant, sent)
    answer = await get(site, tenant, "/metrics/ctr", start=when(NOW - DAY), end=when(NOW), compare="previous_period",
                       group_by="campaign_id")  # fmt: skip
    groups = {one["group"]: one for one in answer["groups"]}
    assert (groups[first]["value"], groups[first]["comparison"]["value"]) == (300.0, 200.0)
    assert (groups[first]["comparison"]["change"], groups[first]["comparison"]["change_percent"]) == (100.0, 50.0)
    assert (groups[second]["numerator"], groups[second]["comparison"]["numerator"]) == (0, 1)
    assert groups[second]["comparison"]["change"] is None, "nothing was shown, so there is no rate"


async def test_an_unknown_comparison_is_refused(site: Site, tenant: str) -> None:
    error = await refused(site, tenant, "/metrics/ctr", {"compare": "last_week"})
    assert error["field"] == "compare" and "previous_year" in str(error)


def test_a_year_before() -> None:
    assert year_before(ms("2024-02-29T12:00:00.123")) == ms("2023-02-28T12:00:00.123")
    assert year_before(ms("2025-03-01")) == ms("2024-03-01")
    assert year_before(ms("1969-12-31T23:59:59.999")) == ms("1968-12-31T23:59:59.999")


def test_cohorts_of_the_earlier_period_are_followed_for_as_long() -> None:
    asked = Slice("t", 1000, 3000, {}, known_ms=10_000)
    assert earlier(asked, Against.PREVIOUS_PERIOD) == Slice("t", -1000, 1000, {}, known_ms=8_000)


def test_no_percentage_of_nothing() -> None:
    empty = {"value": None, "numerator": 0, "denominator": 0}
    zero, five = ({"value": value, "numerator": value, "denominator": 1} for value in (0.0, 5.0))
    assert compared(five, zero) == {**zero, "change": 5.0, "change_percent": None}
    assert compared(five, empty) == {**empty, "change": None, "change_percent": None}
    minus = {"value": -10.0, "numerator": -10, "denominator": None}
    assert compared(five, minus)["change_percent"] == 150.0, "upwards is positive, also from below zero"


def test_outliers() -> None:
    calm = [10.0, 11.0, 9.0, 10.5, 9.5, 10.0, 10.2]
    assert outliers([*calm, 30.0, None]) == [False] * 7 + [True, False]
    assert outliers([0.0] * 9 + [50.0]) == [False] * 9 + [True], "the rest is equal"
    assert outliers([1.0] * 20) == [False] * 20
    assert outliers([*calm[:5], 1000.0]) == [False] * 6, "too few to say"
    assert outliers([float(n) for n in range(30)]) == [False] * 30


async def test_outliers_of_a_series_and_points_that_are_not_whole(site: Site, tenant: str, insert: Insert) -> None:
    """The first and the last day of the range are cut, so they are not judged."""
    world = World(63)
    day = NOW // DAY * DAY
    counts = [1, 20, 21, 19, 20, 22, 90, 20, 18, 1]
    events = [
        {**world.event(), "timestamp": when(day - (9 - number) * DAY + 60 * n + 1)}
        for number, count in enumerate(counts)
        for n in range(count)
    ]
    insert(tenant, events)
    answer = await get(site, tenant, "/metrics/events", start=when(day - 9 * DAY + 0.5), end="now", interval="day")
    series = answer["series"]
    assert [one["numerator"] for one in series] == counts
    assert [one["outlier"] for one in series] == [count == 90 for count in counts]
    assert [one["partial"] for one in series] == [True] + [False] * 8 + [True]


async def test_the_age_of_the_newest_row(site: Site, tenant: str, insert: Insert, store: Warehouse) -> None:
    assert (await get(site, tenant, "/metrics/events"))["age_seconds"] is None
    insert(tenant, World(64).events(3))
    stored = store.query(
        f"SELECT toUnixTimestamp64Milli(max(inserted_at)) AS at FROM events WHERE tenant = '{tenant}'"
    )[0]["at"]
    site.clock.advance(int(stored) / 1000 + 100 - site.clock.now())
    answer = await get(site, tenant, "/metrics/events")
    assert 100 <= answer["age_seconds"] < 110


@pytest.mark.parametrize(
    ("now", "weeks", "percent", "incomplete"),
    [
        (80, (100, 100, 100, 100), 80.0, True),
        (95, (100, 100, 100, 100), 95.0, False),
        (80, (100, 100, 79, 100), 80.0, False),  # it was as low in another week
        (80, (100, 100), 80.0, True),
        (80, (100,), None, False),  # one week is no experience
        (0, (50, 60, 70, 80), 0.0, True),  # nothing came at all
        (7, (0, 0, 0, 0), None, False),
    ],
)
async def test_less_data_than_in_the_same_hours_of_other_weeks(
    site: Site,
    tenant: str,
    store: Warehouse,
    reconciled_until: Callable[[float], None],
    now: int,
    weeks: tuple[int, ...],
    percent: float | None,
    incomplete: bool,
) -> None:
    start, end = NOW - 7200, NOW - 3600
    minutes = [*((start + 60 * (1 + n % 50) - WEEK * back, count)
                 for back, count in enumerate((now, *weeks)) for n in [back * 7])]  # fmt: skip
    around = [(at - WEEK * back, 1000) for back in range(len(weeks) + 1) for at in (start - 60, end + 60)]
    rows.put(store, "reconciliation", *(_reconciled(tenant, at, n) for at, n in (*minutes, *around)))
    reconciled_until(NOW)
    answer = await get(site, tenant, "/metrics/events", start=when(start), end=when(end))
    assert answer["expected"]["events"] == now and answer["expected"]["weeks"] == len(weeks)
    assert answer["expected"]["percent"] == percent
    assert answer["incomplete"] is incomplete


async def test_what_is_not_reconciled_yet_is_not_missing(
    site: Site, tenant: str, store: Warehouse, reconciled_until: Callable[[float], None]
) -> None:
    """The reconciliation is half an hour behind: only what it has looked at is compared."""
    for back in range(5):
        at = NOW - 3600 - WEEK * back
        rows.put(store, "reconciliation", *(_reconciled(tenant, at + 60 * n, 10) for n in range(60 if back else 28)))
    rows.put(store, "reconciliation", _reconciled(tenant, NOW - 5 * WEEK, 1))
    reconciled_until(NOW - 1800)
    answer = await get(site, tenant, "/metrics/events", start=when(NOW - 3600), end=when(NOW))
    assert answer["expected"] == {"events": 280, "usual": 280.0, "weeks": 4, "percent": 100.0}


def _reconciled(tenant: str, at: float, found: int, what: str = "accepted") -> dict[str, Any]:
    return {
        "tenant": tenant,
        "minute": int(at // 60) * 60,
        "what": what,
        "expected": found,
        "found": found,
        "difference": 0,
        "checked_at": at,
        "version": int(at),
    }
