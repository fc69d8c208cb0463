"""Beside the number: an earlier period, outliers of a series, how old the data is and how much of it is usual."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from api.comparison import Against, compared, earlier, year_before
from api.outliers import outliers
from api.slices import Slice
from schemas.metrics import Kind, shipped_dictionary
from sinks.warehouse import Warehouse
from tests.api import rows
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.exact import check
from tests.api.world import DAY, NOW, World
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


async def test_every_metric_beside_the_period_before_is_what_the_oracle_says_of_both(
    site: Site, tenant: str, insert: Insert
) -> None:
    events = World(61, days=30).events(400)
    insert(tenant, events + events[:100])
    start, end = NOW - 10 * DAY, NOW - 2 * DAY
    before = start - (end - start)
    for metric in shipped_dictionary().metrics:
        if (
            metric.kind in (Kind.EXPERIMENT, Kind.EVALUATION, Kind.OPERATION, Kind.ATTRIBUTION)
            or metric.id == "data_freshness"
        ):
            continue
        answer = await get(
            site, tenant, f"/metrics/{metric.id}", start=when(start), end=when(end), compare="previous_period"
        )
        now_ms = int(site.clock.now() * 1000)
        check(answer, Oracle(events, known=now_ms), metric, Scope(int(start * 1000), int(end * 1000)))
        then = answer["comparison"]
        assert (then["start"], then["end"]) == tuple(when(at).replace("Z", ".000Z") for at in (before, start))
        known = now_ms - int((end - start) * 1000)
        shown = {**answer, **{name: then.get(name, answer.get(name)) for name in ("value", "numerator", "denominator")}}
        if metric.kind is Kind.QUOTIENT:
            check(shown, Oracle(events, known=known), metric, Scope(int(before * 1000), int(start * 1000)))
        if None not in (answer["value"], then["value"]):
            assert then["change"] == answer["value"] - then["value"]
            if then["value"]:
                assert then["change_percent"] == 100 * then["change"] / abs(then["value"])


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
