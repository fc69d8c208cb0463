"""How fresh events of each type are, against what the taxonomy promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.distributions import PROMISED, promise
from api.times import parse
from schemas.taxonomy import Pack
from schemas.taxonomy.pack import Freshness
from sinks.warehouse import Warehouse
from tests.api.ask import get
from tests.api.conftest import Site
from tests.api.world import NOW, Event, World, lines


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


async def test_each_type_is_held_against_its_promise(site: Site, tenant: str, store: Warehouse, pack: Pack) -> None:
    """As counted one by one; in all of them together there is nothing to be held against."""
    world = World(97, days=0.2)
    events, later = world.events(400), {}
    for one in events:
        later[one["event_id"]] = world.rng.choice((0.5, 9.0, 59.9, 60.0, 60.1, 299.0, 301.0, 1801.0, 3599.0, 15_000.0))
    for one in events:
        at = happened(one) + later[one["event_id"]]
        store.insert_lines("events", lines([one], pack, tenant, received_at=NOW, inserted_at=round(at, 3)))
    answer = await get(site, tenant, "/metrics/data_freshness", group_by="event_type", start="-7d")
    assert answer["promise"] is None and len(answer["groups"]) > 5
    for group in answer["groups"]:
        name = group["group"]
        took = [later[one["event_id"]] for one in events if one["event_type"] == name]
        freshness = pack.events[name].freshness
        for which, share in PROMISED.items():
            limit = getattr(freshness, which)
            told = group["promise"][which]
            assert told["seconds"] == limit
            assert told["within_percent"] == 100 * sum(one <= limit for one in took) / len(took), (name, which)
            assert told["kept"] == (told["within_percent"] >= share)
        one = await get(site, tenant, "/metrics/data_freshness", event_type=name, start="-7d")
        assert one["promise"] == group["promise"]
    nothing = await get(site, tenant, "/metrics/data_freshness", event_type="campaign_paused", start="-7d")
    assert nothing["promise"] is None and nothing["value"] is None


def happened(event: Event) -> float:
    return parse(event["timestamp"], 0) / 1000


async def test_other_distributions_promise_nothing(
    site: Site, tenant: str, insert: Callable[[str, list[Any]], None]
) -> None:
    insert(tenant, World(98).events(50))
    assert "promise" not in await get(site, tenant, "/metrics/message_frequency", start="-30d")
