"""A custom segment as a filter: the answer is that of its members' events alone, wherever a segment can be named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schemas.metrics import Dimension, Kind, shipped_dictionary
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.world import World, lines

Insert = Callable[[str, list[Any]], None]
RANGE = {"start": "2026-10-25T00:00:00Z", "end": "2026-11-20T00:00:00Z"}
TENANT, ALONE = "members-all", "members-alone"
METRICS = [
    metric
    for metric in shipped_dictionary().metrics
    if Dimension.SEGMENT in metric.dimensions and metric.id != "gross_margin"
]


@pytest.fixture(scope="module")
def segment(store: Warehouse, pack: Pack) -> dict[str, Any]:
    """Everybody's events for one tenant; for the other those of users with four orders or more before the end."""
    world = World(90, days=26, users=40, orders=150)
    events = world.events(1_200)
    for one in events:
        if "order_id" in one["properties"]:  # no order of two users: it would count for the first of them
            one["properties"]["order_id"] = world.uuid()
    bought = [one for one in events if one["event_type"] == "user_purchased" and one["timestamp"] < RANGE["end"]]
    users = [one["user_id"] for one in bought]
    members = {user for user in users if users.count(user) >= 4}
    assert 5 < len(members) < 38
    alone = [one for one in events if one["user_id"] in members]
    criteria = {"orders": {"min": 4}}
    defined = {
        **events[0],
        "event_id": world.uuid(),
        "event_type": "segment_defined",
        "timestamp": "2026-11-20T12:00:00Z",
        "user_id": "analyst",
        "properties": {"segment_id": world.uuid(), "segment_name": "Repeat buyers", "criteria": criteria},
        "context": {},
    }
    store.insert_lines("events", lines([*events, defined], pack, TENANT, backfill=True))
    store.insert_lines("events", lines(alone, pack, ALONE, backfill=True))
    return {"id": defined["properties"]["segment_id"], "members": members}


def numbers(answer: Any) -> Any:
    """An answer without what is of the tenant as a whole."""
    if isinstance(answer, dict):
        skip = ("as_of", "age_seconds", "expected", "completeness", "incomplete", "filters", "segment")
        return {key: numbers(value) for key, value in answer.items() if key not in skip}
    return [numbers(one) for one in answer] if isinstance(answer, list) else answer


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.id)
async def test_a_metric_counts_the_members_alone(site: Site, segment: dict[str, Any], metric: Any) -> None:
    split = {"group_by": "segment"} if metric.kind is not Kind.EXPERIMENT else {}
    asked = {**RANGE, "interval": "week", **split}
    filtered = await get(site, TENANT, f"/metrics/{metric.id}", **asked, segment=segment["id"])
    alone = await get(site, ALONE, f"/metrics/{metric.id}", **asked)
    assert numbers(filtered) == numbers(alone)
    everybody = await get(site, TENANT, f"/metrics/{metric.id}", **RANGE)
    cohorts = metric.id in ("ltv", "retention_30d", "retention_60d", "retention_90d")
    assert cohorts or everybody["numerator"] != filtered["numerator"] or metric.id == "message_frequency"


async def test_heatmap_and_funnel_count_the_members_alone(site: Site, segment: dict[str, Any]) -> None:
    for path, asked in (
        ("/heatmap", {"metric": "activity"}),
        ("/funnel", {"steps": "impression,click", "window": "7d"}),
    ):
        filtered = await get(site, TENANT, path, **RANGE, **asked, segment=segment["id"])
        assert numbers(filtered) == numbers(await get(site, ALONE, path, **RANGE, **asked)), path
    beside = await get(site, TENANT, "/heatmap", **RANGE, compare_segment=segment["id"])
    assert beside["comparison"]["segment"] == segment["id"]
    assert beside["comparison"]["users"] == len(segment["members"])
    shown = await get(site, TENANT, "/funnel", **RANGE, steps="impression,click", segment=segment["id"])
    assert shown["filters"] == {"segment": segment["id"]}


async def test_attribution_takes_the_members_orders(site: Site, segment: dict[str, Any]) -> None:
    filtered = await get(site, TENANT, "/attribution", **RANGE, segment=segment["id"])
    alone = await get(site, ALONE, "/attribution", **RANGE)
    for part in ("conversions", "revenue", "attributed", "unattributed", "null_journeys"):
        assert filtered[part] == alone[part], part


async def test_what_no_user_has_is_refused(site: Site, segment: dict[str, Any]) -> None:
    """Spend is shared out to segments by deliveries; there is no such share of a custom one."""
    error = await refused(site, TENANT, "/metrics/gross_margin", {"segment": segment["id"]})
    assert error["field"] == "segment" and "HIGH_SPENDER" in error["allowed"]


async def test_a_segment_of_somebody_else_is_unknown(site: Site, segment: dict[str, Any], insert: Insert) -> None:
    insert("members-other", World(91).events(50))
    error = await refused(site, "members-other", "/metrics/ctr", {"segment": segment["id"]})
    assert error["field"] == "segment"
