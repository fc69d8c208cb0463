"""How far attribution models disagree, as a metric, against journeys walked in plain Python."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from api.attribution.spread import MODELS
from sinks.warehouse import Warehouse
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.world import DAY, NOW, World, lines
from tests.oracle.attribution import Question, credit, walk

END = int(NOW * 1000)
DAY_MS = DAY * 1000
TENANT = "spread"


@pytest.fixture(scope="module")
def events(store: Warehouse, pack: Any) -> list[Any]:
    world = World(77, days=50, users=40, orders=120)
    made = world.events(1_200)
    store.insert_lines("events", lines(made + made[:200], pack, TENANT, backfill=True))
    return made


def expected(events: list[Any], start: int, end: int, only: str | None = None) -> tuple[Fraction, Fraction]:
    """The gap and the mean, in millionths."""
    walked = walk(events, Question(start, end, by="campaign_id"))
    by_model = [credit(walked, model) for model in MODELS]
    names = {name for found in by_model for name in found if only in (None, name)}
    gap = mean = Fraction(0)
    for name in names:
        revenues = [found[name][1] if name in found else Fraction(0) for found in by_model]
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


async def test_it_equals_the_walk(site: Site, events: list[Any]) -> None:
    """Whole, by campaign, of one campaign, and by week, under both names."""
    start, end = END - 30 * DAY_MS, END - 2 * DAY_MS
    asked = {"start": "2026-10-22T09:30:00Z", "end": "2026-11-19T09:30:00Z"}
    answer = await get(
        site, TENANT, "/metrics/attribution_comparison", **asked, group_by="campaign_id", interval="week"
    )
    check(answer, *expected(events, start, end))
    assert answer["metric"] == "attribution_spread" and answer["numerator"] > 0 and len(answer["groups"]) == 3
    assert sum(one["numerator"] for one in answer["groups"]) == pytest.approx(answer["numerator"])
    for model in MODELS:
        assert answer["models"][model] == pytest.approx(answer["denominator"]), "each credits the same orders"
    for group in answer["groups"]:
        check(group, *expected(events, start, end, group["group"]))
        filtered = await get(site, TENANT, "/metrics/attribution_spread", **asked, campaign_id=group["group"])
        assert (filtered["value"], filtered["models"]) == (group["value"], group["models"])
    monday = END // DAY_MS * DAY_MS - 5 * DAY_MS  # 2026-11-16
    last = answer["series"][-1]
    assert last["start"] == "2026-11-16T00:00:00.000Z"
    check(last, *expected(events, monday, end))


async def test_nothing_is_null(site: Site, tenant: str) -> None:
    answer = await get(site, tenant, "/metrics/attribution_spread")
    assert answer["value"] is None and answer["numerator"] == 0 and answer["groups"] == []


async def test_too_many_points_are_refused(site: Site, tenant: str) -> None:
    """Each is a walk of its own."""
    asked = {"interval": "hour", "start": "-30d"}
    error = await refused(site, tenant, "/metrics/attribution_spread", asked)
    assert error["field"] == "interval"
