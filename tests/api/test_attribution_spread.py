"""How far attribution models disagree, as a metric, against journeys walked in plain Python."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from api.attribution.spread import MODELS
from api.times import iso
from sinks.warehouse import Warehouse
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.world import DAY, NOW, World, lines
from tests.oracle.attribution import Question, credit, walk
from tests.oracle.flags import points

END = int(NOW * 1000)
DAY_MS = DAY * 1000
TENANT = "spread"


@pytest.fixture(scope="module")
def events(store: Warehouse, pack: Any) -> list[Any]:
    world = World(77, days=50, users=40, orders=400)
    made = world.events(1_200)
    store.insert_lines("events", lines(made + made[:200], pack, TENANT, backfill=True))
    return made


def credits(events: list[Any], start: int, end: int) -> list[dict[str, Fraction]]:
    """Of each model, by campaign, the revenue in millionths."""
    walked = walk(events, Question(start, end, by="campaign_id"))
    found = [credit(walked, model) for model in MODELS]
    return [{name: micros for name, (_, micros, _) in by_campaign.items()} for by_campaign in found]


def expected(events: list[Any], start: int, end: int, only: str | None = None) -> tuple[Fraction, Fraction]:
    """The gap and the mean, in millionths."""
    by_model = credits(events, start, end)
    names = {name for found in by_model for name in found if only in (None, name)}
    gap = mean = Fraction(0)
    for name in names:
        revenues = [found.get(name, Fraction(0)) for found in by_model]
        gap += max(revenues) - min(revenues)
        mean += sum(revenues, Fraction(0)) / len(MODELS)
    return gap, mean


def check(answer: dict[str, Any], gap: Fraction, mean: Fraction) -> None:
    """Time decay is by billionths of each order."""
    assert answer["numerator"] == pytest.approx(float(gap / 10**6), rel=1e-6, abs=1e-6)
    assert answer["denominator"] == pytest.approx(float(mean / 10**6), rel=1e-6, abs=1e-6)
    if mean:
        assert answer["value"] == pytest.approx(float(100 * gap / mean), rel=1e-6, abs=1e-6)
    else:
        assert answer["value"] is None


def check_part(answer: dict[str, Any], events: list[Any], start: int, end: int, only: str | None = None) -> None:
    """Everything that is said of a range, or of a campaign in it. Time decay is by billionths of each order."""
    check(answer, *expected(events, start, end, only))
    for model, found in zip(MODELS, credits(events, start, end), strict=True):
        revenue = sum(micros for name, micros in found.items() if only in (None, name)) / 10**6
        near = 1e-6 if model == "time_decay" else 1e-12
        assert answer["models"][model] == pytest.approx(float(revenue), rel=near, abs=near), model
    assert set(answer["models"]) == set(MODELS)


async def test_it_equals_the_walk(site: Site, events: list[Any]) -> None:
    """Whole, by campaign, of one campaign, and by week, under both names."""
    start, end = END - 30 * DAY_MS, END - 2 * DAY_MS
    asked = {"start": "2026-10-22T09:30:00Z", "end": "2026-11-19T09:30:00Z", "interval": "week"}
    answer = await get(site, TENANT, "/metrics/attribution_comparison", **asked, group_by="campaign_id")
    check_part(answer, events, start, end)
    assert answer["metric"] == "attribution_spread" and answer["numerator"] > 0 and len(answer["groups"]) == 3
    assert sum(one["numerator"] for one in answer["groups"]) == pytest.approx(answer["numerator"])
    for group in answer["groups"]:
        check_part(group, events, start, end, group["group"])
        filtered = await get(site, TENANT, "/metrics/attribution_spread", **asked, campaign_id=group["group"])
        assert {**filtered, **group} == filtered | {"group": group["group"]}, "a split says what a filter does"
    for one in (answer, *answer["groups"]):
        for shown, point in zip(one["series"], points("week", start, end), strict=True):
            assert shown["start"] == point.text
            check_part(shown, events, point.start, point.end, one.get("group"))
    assert sum(bool(one["numerator"]) for one in answer["series"]) > 3, "a test over nothing proves nothing"
    assert len({one["models"]["first"] for one in answer["groups"]}) == 3


async def test_each_day_is_a_walk_of_its_own(site: Site, events: list[Any]) -> None:
    """The first and the last are cut by the range, and so are the orders that are theirs."""
    start, end = END - 12 * DAY_MS, END - 2 * DAY_MS
    answer = await get(site, TENANT, "/metrics/attribution_spread", start=iso(start), end=iso(end), interval="day")
    for shown, point in zip(answer["series"], points("day", start, end), strict=True):
        assert shown["start"] == point.text and shown["partial"] == (point[:2] != point[2:])
        check_part(shown, events, point.start, point.end)
    assert sum(bool(one["numerator"]) for one in answer["series"]) > 7, "a test over nothing proves nothing"


async def test_it_stands_beside_the_period_before(site: Site, events: list[Any]) -> None:
    start, end = END - 17 * DAY_MS, END - 2 * DAY_MS
    asked = {"start": iso(start), "end": iso(end), "compare": "previous_period", "group_by": "campaign_id"}
    answer = await get(site, TENANT, "/metrics/attribution_spread", **asked)
    for one in (answer, *answer["groups"]):
        then, only = one["comparison"], one.get("group")
        gap, mean = expected(events, start, end, only)
        was_gap, was_mean = expected(events, start - (end - start), start, only)
        check(then, was_gap, was_mean)
        change = 100 * gap / mean - 100 * was_gap / was_mean
        assert then["change"] == pytest.approx(float(change), rel=1e-5, abs=1e-5) and change
        assert then["change_percent"] == pytest.approx(float(change * was_mean / was_gap), rel=1e-5, abs=1e-5)


async def test_nothing_is_null(site: Site, tenant: str) -> None:
    answer = await get(site, tenant, "/metrics/attribution_spread")
    assert answer["value"] is None and answer["numerator"] == 0 and answer["groups"] == []


async def test_too_many_points_are_refused(site: Site, tenant: str) -> None:
    """Each is a walk of its own."""
    asked = {"interval": "hour", "start": "-30d"}
    error = await refused(site, tenant, "/metrics/attribution_spread", asked)
    assert error["field"] == "interval"
