"""How fresh events of each type are, against what the taxonomy promises."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import pytest

from api.distributions import PROMISED, promise
from api.times import iso
from schemas.metrics import shipped_dictionary
from schemas.taxonomy import Pack
from schemas.taxonomy.pack import Freshness
from sinks.warehouse import Warehouse
from tests.api.ask import get
from tests.api.conftest import Site
from tests.api.exact import check_distribution
from tests.api.world import DAY, NOW, Event, World, late_lines
from tests.oracle.facts import milliseconds
from tests.oracle.flags import points


@pytest.mark.parametrize(
    ("slow", "kept"),
    [
        ([], {"target": True, "acceptable": True, "grace": True}),
        ([60.001] * 5, {"target": True, "acceptable": False, "grace": True}),
        ([61.0] * 6, {"target": False, "acceptable": True, "grace": True}),
        ([301.0], {"target": True, "acceptable": True, "grace": True}),
        ([3601.0], {"target": True, "acceptable": True, "grace": False}),
    ],
)
def test_a_promise_is_for_a_share(slow: list[float], kept: dict[str, bool]) -> None:
    promised, seconds = Freshness(60, 60 if len(slow) == 5 else 300, 3600), [60.0] * (100 - len(slow)) + slow
    within = {float(limit): sum(one <= limit for one in seconds) for limit in (60, 300, 3600)}
    told = promise(promised, within, len(seconds))
    assert {name: one["kept"] for name, one in told.items()} == kept
    assert {name: one["percent"] for name, one in told.items()} == dict(PROMISED)


class Late(NamedTuple):
    """A tenant, its events, and by id how many ms after it happened each was stored; one is from a clock ahead."""

    tenant: str
    events: list[Event]
    lags: dict[str, int]

    def observed(self, *, kind: str | None = None, start: int = 0, end: int = 1 << 62) -> list[Fraction]:
        """Seconds, in order, of the events of a type that happened in a range."""
        inside = [one for one in self.events if kind in (None, one["event_type"])]
        inside = [one for one in inside if start <= milliseconds(one["timestamp"]) < end]
        return sorted(Fraction(self.lags[one["event_id"]], 1000) for one in inside)


@pytest.fixture
def late(tenant: str, store: Warehouse, pack: Pack) -> Late:
    world = World(97, days=0.2)
    events, edges = world.events(400), (500, 9_000, 59_900, 60_000, 60_100, 299_000, 301_000, 1_801_000, 3_599_000)
    lags = {one["event_id"]: world.rng.choice((*edges, world.rng.randrange(20_000_000))) for one in events}
    lags[events[0]["event_id"]] = -2_500
    stored = {one["event_id"]: milliseconds(one["timestamp"]) + lags[one["event_id"]] for one in events}
    store.insert_lines("events", late_lines(events + events[:100], pack, tenant, stored))
    return Late(tenant, events, lags)


async def test_each_type_is_held_against_its_promise(site: Site, late: Late, pack: Pack) -> None:
    """As counted one by one; in all of them together there is nothing to be held against."""
    asked = {"group_by": "event_type", "start": "-7d"}
    answer = await get(site, late.tenant, "/metrics/data_freshness", **asked)
    assert answer["promise"] is None and len(answer["groups"]) > 5
    for group in answer["groups"]:
        name = group["group"]
        took = late.observed(kind=name)
        freshness = pack.events[name].freshness
        for which, share in PROMISED.items():
            limit = getattr(freshness, which)
            told = group["promise"][which]
            assert told["seconds"] == limit
            assert told["within_percent"] == 100 * sum(one <= limit for one in took) / len(took), (name, which)
            assert told["kept"] == (told["within_percent"] >= share)
        one = await get(site, late.tenant, "/metrics/data_freshness", event_type=name, start="-7d")
        assert one["promise"] == group["promise"]
    nothing = await get(site, late.tenant, "/metrics/data_freshness", event_type="campaign_paused", start="-7d")
    assert nothing["promise"] is None and nothing["value"] is None


async def test_each_type_has_its_own_quantiles_and_histogram(site: Site, late: Late) -> None:
    """In total, by type, of one type, and in each hour of each."""
    metric = shipped_dictionary().find("data_freshness")
    assert metric is not None
    start, end = int((NOW - DAY) * 1000), int(NOW * 1000)
    asked = {"start": iso(start), "end": iso(end), "interval": "hour"}
    answer = await get(site, late.tenant, "/metrics/data_freshness", group_by="event_type", **asked)
    check_distribution(answer, late.observed(), metric)
    assert {one["group"] for one in answer["groups"]} == {one["event_type"] for one in late.events}
    for group in answer["groups"]:
        name = group["group"]
        check_distribution(group, late.observed(kind=name), metric)
        one = await get(site, late.tenant, "/metrics/data_freshness", event_type=name, **asked)
        check_distribution(one, late.observed(kind=name), metric)
        for series in (group["series"], one["series"]):
            for shown, point in zip(series, points("hour", start, end), strict=True):
                assert shown["start"] == point.text
                check_distribution(shown, late.observed(kind=name, start=point.start, end=point.end), metric)


async def test_other_distributions_promise_nothing(
    site: Site, tenant: str, insert: Callable[[str, list[Any]], None]
) -> None:
    insert(tenant, World(98).events(50))
    assert "promise" not in await get(site, tenant, "/metrics/message_frequency", start="-30d")
