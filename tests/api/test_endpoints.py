"""The ledger, the metrics and the windows through HTTP, over the real engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from api.routing import ROOT
from schemas.metrics import shipped_dictionary
from sinks.warehouse import Warehouse
from tests.api import rows
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.world import NOW, World

Insert = Callable[[str, list[Any]], None]


async def test_pipeline_is_the_ledger(site: Site, tenant: str, store: Warehouse, insert: Insert) -> None:
    """Newest version of each origin, summed over origins; what is stored is counted in the table."""
    site.clock.advance(600)
    insert(tenant, World(31).events(50))
    at = NOW
    rows.put(
        store,
        "ledger",
        rows.ledger(tenant, "received", 30, minute=at, origin=1),
        rows.ledger(tenant, "received", 40, minute=at, origin=1, version=2),
        rows.ledger(tenant, "received", 25, minute=at, origin=2),
        rows.ledger(tenant, "accepted", 53, minute=at),
        rows.ledger(tenant, "duplicate", 3, minute=at),
        rows.ledger(tenant, "late", 2, minute=at),
        rows.ledger(tenant, "rejected", 7, minute=at, reason="empty_id"),
        rows.ledger(tenant, "rejected", 4, minute=at, reason="wrong_type"),
        rows.ledger(tenant, "rejected", 1, minute=at, reason="wrong_type", origin=1 << 32 | 2),
    )
    answer = await get(site, tenant, "/pipeline", start="-1h", interval="minute")
    assert answer["received"] == 65 and answer["accepted"] == 53 and answer["stored"] == 50
    assert answer["rejected"] == {"empty_id": 7, "wrong_type": 5}
    assert answer["duplicates"] == 3 and answer["late"] == 2 and answer["in_flight"] == 0
    assert answer["difference"] == {"received": 0, "accepted": 0}
    assert answer["series"] == [
        {
            "minute": "2026-11-21T09:30:00.000Z",
            "received": 65,
            "accepted": 53,
            "rejected": 12,
            "duplicates": 3,
            "late": 2,
            "recovered": 0,
        }
    ]
    assert all(answer["freshness_seconds"][p] is not None for p in ("p50", "p95", "p99"))


async def test_pipeline_shows_what_is_missing(site: Site, tenant: str, store: Warehouse, insert: Insert) -> None:
    """A hole between received and accepted, and one between accepted and stored, each under its own name."""
    insert(tenant, World(32).events(10))
    rows.put(
        store,
        "ledger",
        rows.ledger(tenant, "received", 30, minute=NOW),
        rows.ledger(tenant, "accepted", 14, minute=NOW),
    )
    open_minute = await get(site, tenant, "/pipeline", end="2026-11-21T10:00:00Z")
    assert open_minute["difference"] == {"received": 0, "accepted": 0}, "an open minute is not judged"
    assert open_minute["in_flight"] == 20
    site.clock.advance(120)
    closed = await get(site, tenant, "/pipeline", end="2026-11-21T10:00:00Z")
    assert closed["difference"] == {"received": 16, "accepted": 4}
    metric = await get(site, tenant, "/metrics/events", end="2026-11-21T10:00:00Z")
    assert metric["completeness"] == pytest.approx(100 * 10 / 30, abs=1e-4) and metric["incomplete"] is True


def _crash(tenant: str, minute: float) -> list[dict[str, Any]]:
    """A collector published chunks 0 to 2 (the second abandoned) and was killed; 0, 1, 3 and 5 came through."""
    chunk = 77 << 32
    return [
        rows.ledger(tenant, "received", 15, minute=minute, origin=77),
        rows.ledger(tenant, "abandoned", 20, minute=minute, origin=77),
        rows.ledger("", "watermark", 3, minute=minute, origin=77),
        rows.ledger("", "abandoned_chunks", 1, minute=minute, origin=chunk | 1),
        *(
            rows.ledger(tenant, "accepted", n, minute=minute, origin=chunk | at)
            for at, n in ((0, 10), (1, 20), (3, 40))
        ),
        rows.ledger(tenant, "rejected", 80, minute=minute, origin=chunk | 5, reason="empty_id"),
        rows.ledger(tenant, "accepted", 5, minute=minute, origin=chunk | 2),
    ]


async def test_what_a_killed_collector_did_not_count_is_received_all_the_same(
    site: Site, tenant: str, store: Warehouse
) -> None:
    """At once out of the chunks; once the minute is old, out of the rows that the reconciliation has written."""
    rows.put(store, "ledger", *_crash(tenant, NOW))
    site.clock.advance(120)
    young = await get(site, tenant, "/pipeline", end="2026-11-21T11:00:00Z", interval="minute")
    assert (young["received"], young["recovered"], young["abandoned"]) == (155, 140, 20)
    assert (young["accepted"], young["rejected"]) == (75, {"empty_id": 80})
    assert young["difference"]["received"] == 0
    assert [(one["received"], one["recovered"]) for one in young["series"]] == [(155, 140)]
    rows.put(store, "ledger", rows.ledger(tenant, "recovered", 140, minute=NOW, origin=77))
    again = await get(site, tenant, "/pipeline", end="2026-11-21T11:00:00Z", interval="minute")
    assert {**again, "as_of": None} == {**young, "as_of": None}, "and not twice"
    site.clock.advance(3600)
    old = await get(site, tenant, "/pipeline", start="-3h")
    assert (old["received"], old["recovered"], old["difference"]["received"]) == (155, 140, 0)


async def test_a_lost_chunk_of_a_killed_collector_still_shows(site: Site, tenant: str, store: Warehouse) -> None:
    """Chunk 2 was acknowledged and counted; that others are recovered does not hide that it is not there."""
    rows.put(store, "ledger", *_crash(tenant, NOW)[:-1])
    site.clock.advance(120)
    answer = await get(site, tenant, "/pipeline", end="2026-11-21T11:00:00Z")
    assert answer["difference"]["received"] == 5


async def test_pipeline_tells_conflicts_and_the_last_reconciliation(site: Site, tenant: str, store: Warehouse) -> None:
    """Differences are the tenant's own; that the reconciliation is at work is true for all."""
    fresh = await get(site, tenant, "/pipeline")
    assert fresh["conflicts"] == 0 and fresh["reconciliation"]["difference"] == 0
    conflict = {"tenant": tenant, "event_id": "e", "received_at": NOW - 600, "found_at": NOW, "chunk": 5, "revision": 1}
    kinds = ("user", "body", "copy")
    rows.put(store, "conflicts", *({**conflict, "chunk": n, "kind": kind} for n, kind in enumerate(kinds)))
    result = {"minute": int(NOW) // 60 * 60 - 600, "expected": 9, "found": 4, "checked_at": NOW - 5, "version": 1}
    rows.put(
        store,
        "reconciliation",
        {**result, "tenant": tenant, "what": "received", "difference": 5},
        {**result, "tenant": tenant, "what": "accepted", "difference": -2},
        {**result, "tenant": f"not-{tenant}", "what": "accepted", "difference": 1000},
        {**result, "tenant": "", "what": "round", "difference": 3, "minute": int(NOW) // 60 * 60},
    )
    answer = await get(site, tenant, "/pipeline")
    assert answer["conflicts"] == 2
    assert answer["reconciliation"] == {"checked_at": "2026-11-21T09:29:55.000Z", "difference": 7, "minutes": 1}


async def test_nothing_received_is_complete_and_null(site: Site, tenant: str) -> None:
    answer = await get(site, tenant, "/pipeline")
    assert answer["received"] == answer["stored"] == 0 and answer["rejected"] == {}
    assert answer["freshness_seconds"] == {"p50": None, "p95": None, "p99": None} and answer["as_of"] is None


async def test_metric_dictionary_lists_what_the_pack_can_answer(site: Site, tenant: str) -> None:
    metrics = (await get(site, tenant, "/metrics"))["metrics"]
    by_id = {metric["id"]: metric for metric in metrics}
    assert (
        len(metrics) == len(shipped_dictionary().metrics) > 20
        and by_id["ctr"]["numerator"] == "clicks"
        and by_id["ctr"]["unit"] == "percent"
    )
    assert by_id["impressions"]["denominator"] is None and by_id["roas"]["healthy"] == {"min": 2.5, "max": None}


async def test_metric_has_its_own_window_and_status(site: Site, tenant: str, insert: Insert) -> None:
    insert(tenant, World(33).events(200))
    answer = await get(site, tenant, "/metrics/roas")
    assert answer["start"] == "2026-11-14T09:30:01.500Z" and answer["status"] == "low"
    alias = await get(site, tenant, "/metrics/budget_utilisation")
    assert alias["metric"] == "budget_utilization"


async def test_alias_at_the_root_has_value_and_confidence(site: Site, tenant: str, insert: Insert) -> None:
    insert(tenant, World(34).events(200))
    async with site.client(tenant) as client:
        answer = (await client.get("/metrics/roas")).json()
        assert answer["roas"] == answer["value"] > 0 and answer["confidence"] == 1.0
        assert "headrace_api_requests_total" in (await client.get("/metrics")).text


@pytest.mark.parametrize(
    ("params", "field", "allowed"),
    [
        ({"start": "yesterday"}, "start", None),
        ({"start": "2026-11-21T09:00:00Z", "end": "2026-11-20"}, "start", None),
        ({"start": "now"}, "start", None),
        ({"start": "1900-01-01"}, "start", None),
        ({"end": "9999-01-01"}, "end", None),
        ({"interval": "fortnight"}, "interval", ["minute", "5m", "hour", "day", "week", "month"]),
        ({"start": "-300d", "interval": "minute"}, "interval", ["day", "week", "month"]),
        ({"group_by": "event_type"}, "group_by", ["campaign_id", "creative_id", "segment"]),
        ({"group_by": "user_id"}, "group_by", ["campaign_id", "creative_id", "segment", "channel", "event_type"]),
        ({"channel": "push"}, "channel", ["campaign_id", "creative_id", "segment"]),
        ({"limit": "0"}, "limit", None),
        ({"campaign_id": "x" * 300}, "campaign_id", None),
        ({"intervall": "day"}, "intervall", None),
        ({"tenant": "other"}, "tenant", None),
    ],
)
async def test_bad_parameters_are_refused_with_field_and_allowed_values(
    site: Site, tenant: str, params: dict[str, str], field: str, allowed: list[str] | None
) -> None:
    error = await refused(site, tenant, "/metrics/ctr", params)
    assert error["field"] == field and error["message"] and error.get("allowed") == allowed


@pytest.mark.parametrize(
    ("params", "allowed"),
    [
        ({"channel": "pigeon"}, "in_app"),
        ({"segment": "HIGH_SPENDERS"}, "HIGH_SPENDER"),
        ({"event_type": "user_purchase"}, "user_purchased"),
    ],
)
async def test_a_filter_that_can_match_nothing_is_refused(
    site: Site, tenant: str, params: dict[str, str], allowed: str
) -> None:
    error = await refused(site, tenant, "/metrics/events", params)
    assert [error["field"]] == list(params) and allowed in error["allowed"]


async def test_a_segment_of_ones_own_is_no_mistake(site: Site, tenant: str, insert: Insert) -> None:
    """The context's segment is an open text: what events say is known, too."""
    await refused(site, tenant, "/metrics/events", {"segment": "MY_OWN"})
    insert(tenant, [{**World(35).event(), "context": {"user_segment": "MY_OWN"}}])
    assert (await get(site, tenant, "/metrics/events", start="-30d", segment="MY_OWN"))["value"] == 1
    assert (await get(site, tenant, "/metrics/events", segment="INACTIVE"))["value"] == 0
    await refused(site, "nobody", "/metrics/events", {"segment": "MY_OWN"})


async def test_several_metrics_in_one_call_are_what_each_says_alone(site: Site, tenant: str, insert: Insert) -> None:
    insert(tenant, World(36).events(200))
    params = {"start": "-10d", "end": "-1h", "interval": "day", "compare": "previous_period"}
    together = await get(site, tenant, "/query", metrics="roas, ctr,budget_utilisation,roas", **params)
    assert [one["metric"] for one in together["metrics"]] == ["roas", "ctr", "budget_utilization"]
    for one in together["metrics"]:
        alone = await get(site, tenant, f"/metrics/{one['metric']}", start=one["start"], end=one["end"], interval="day",
                          compare="previous_period")  # fmt: skip
        assert {**one, "age_seconds": None} == {**alone, "age_seconds": None}


@pytest.mark.parametrize(
    ("metrics", "field"),
    [("roas,rose", "metrics"), ("", "metrics"), (",".join(f"m{n}" for n in range(26)), "metrics")],
)
async def test_several_metrics_are_refused_together(site: Site, tenant: str, metrics: str, field: str) -> None:
    assert (await refused(site, tenant, "/query", {"metrics": metrics}))["field"] == field


async def test_a_split_that_one_of_several_metrics_does_not_know_is_refused(site: Site, tenant: str) -> None:
    error = await refused(site, tenant, "/query", {"metrics": "ctr,impressions", "group_by": "channel"})
    assert error["field"] == "group_by" and "ctr" in error["message"]


async def test_unknown_metric_is_404_with_the_known_ones(site: Site, tenant: str) -> None:
    async with site.client(tenant) as client:
        answer = await client.get(f"{ROOT}/metrics/rose")
    assert answer.status_code == 404 and "roas" in answer.json()["errors"][0]["allowed"]


async def test_too_many_groups_or_points_is_a_clear_refusal(site: Site, tenant: str, store: Warehouse) -> None:
    """More rows than one read may answer: 422 that says what to change, no cut-off answer."""
    line = {
        "tenant": tenant,
        "event_type": "user_engaged",
        "received_at": NOW,
        "user_id": "u",
        "slot": 1,
        "chunk": 1,
        "timestamp": NOW - 60,
        "properties": {},
        "context": {},
    }
    many = (orjson.dumps({**line, "event_id": str(n), "segment": f"s{n}"}) for n in range(6_000))
    store.insert_lines("events", b"\n".join(many))
    async with site.client(tenant) as client:
        answer = await client.get(f"{ROOT}/metrics/events", params={"group_by": "segment"})
        assert answer.status_code == 422 and answer.json()["type"] == "/problems/too-much"
        assert "fewer" in answer.json()["detail"]


async def test_windows_sum_the_newest_cells(site: Site, tenant: str, store: Warehouse, insert: Insert) -> None:
    """Five minutes hold the current one and four before it; users are distinct over the window."""
    events = [event for event in World(35).events(400) if event["event_type"] == "campaign_clicked"][:8]
    for n, event in enumerate(events):
        event.update(timestamp="2026-11-21T09:29:30Z", user_id=f"u{n % 3}")
    insert(tenant, events)
    rows.put(
        store,
        "windows",
        rows.window(tenant, NOW, "campaign_clicked", 3),
        rows.window(tenant, NOW - 240, "campaign_clicked", 4, version=1),
        rows.window(tenant, NOW - 240, "campaign_clicked", 5, version=2),
        rows.window(tenant, NOW - 240, "campaign_clicked", 1, shard="1/2"),
        rows.window(tenant, NOW - 300, "campaign_clicked", 100),
        rows.window(tenant, NOW, "user_purchased", 2, micros=12_340_000),
    )
    answer = await get(site, tenant, "/windows", window="5m")
    assert answer["total"] == {"events": 11, "users": 3, "amount": 12.34, "late": 4}
    assert [(g["group"], g["events"], g["users"]) for g in answer["groups"]] == [
        ("campaign_clicked", 9, 3),
        ("user_purchased", 2, 0),
    ]
    only = await get(site, tenant, "/windows", window="5m", event_type="user_purchased", group_by="channel")
    assert only["total"]["events"] == 2
    assert (await refused(site, tenant, "/windows", {"window": "6h"}))["allowed"] == ["5m", "1h", "24h", "7d"]
