"""The endpoints through HTTP, over the real engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.routing import ROOT
from schemas.errors import Permanent, Retryable
from sinks.warehouse import Warehouse
from tests.api import rows
from tests.api.conftest import Site
from tests.api.world import NOW, World

Insert = Callable[[str, list[Any]], None]


async def get(site: Site, tenant: str, path: str, **params: Any) -> Any:
    async with site.client(tenant) as client:
        answer = await client.get(path if path.startswith("/u") else ROOT + path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(site: Site, tenant: str, path: str, params: dict[str, str]) -> Any:
    async with site.client(tenant) as client:
        answer = await client.get(ROOT + path, params=params)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422 and problem["detail"]
    return problem["errors"][0]


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
        rows.ledger(tenant, "rejected", 1, minute=at, reason="wrong_type", origin=2),
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


async def test_nothing_received_is_complete_and_null(site: Site, tenant: str) -> None:
    answer = await get(site, tenant, "/pipeline")
    assert answer["received"] == answer["stored"] == 0 and answer["rejected"] == {}
    assert answer["freshness_seconds"] == {"p50": None, "p95": None, "p99": None} and answer["as_of"] is None


async def test_metric_dictionary_lists_what_the_pack_can_answer(site: Site, tenant: str) -> None:
    metrics = (await get(site, tenant, "/metrics"))["metrics"]
    by_id = {metric["id"]: metric for metric in metrics}
    assert len(metrics) == 15 and by_id["ctr"]["numerator"] == "clicks" and by_id["ctr"]["unit"] == "percent"
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


async def test_unknown_metric_is_404_with_the_known_ones(site: Site, tenant: str) -> None:
    async with site.client(tenant) as client:
        answer = await client.get(f"{ROOT}/metrics/rose")
    assert answer.status_code == 404 and "roas" in answer.json()["errors"][0]["allowed"]


async def test_too_many_groups_or_points_is_a_clear_refusal(site: Site, tenant: str, store: Warehouse) -> None:
    """More rows than one read may answer: 422 that says what to change, no cut-off answer."""
    import orjson

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


async def test_churn_risk_is_the_newest_run_in_the_seed_shape(site: Site, tenant: str, store: Warehouse) -> None:
    rows.put(
        store,
        "predictions",
        rows.prediction(tenant, "old", 0.99, "critical", at=NOW - 90_000),
        rows.prediction(tenant, "a", 0.91, "critical"),
        rows.prediction(tenant, "b", 0.2, "low", version=1),
        rows.prediction(tenant, "b", 0.6, "high", version=2),
        rows.prediction(tenant, "c", 0.4, "medium"),
        rows.prediction(tenant, "d", 0.05, "low"),
    )
    rows.put(store, "user_state", rows.user_state(tenant, "a", 100_500_000), rows.user_state(tenant, "d", 10**9))
    answer = await get(site, tenant, "/churn-risk")
    assert [user["userId"] for user in answer["atRiskUsers"]] == ["a", "b", "c"]
    assert answer["summary"] == {
        "totalAtRisk": 3,
        "criticalRisk": 1,
        "highRisk": 1,
        "mediumRisk": 1,
        "potentialRevenueAtRisk": 100.5,
    }
    first = answer["atRiskUsers"][0]
    assert first["topRiskFactors"] == [
        {"factor": "recency_days", "importance": 0.75},
        {"factor": "clicks_30d", "importance": 0.25},
    ]
    assert first["userName"] is None and first["email"] is None and first["currentLtv"] == 100.5
    assert first["lastActivity"] == "2026-11-19T09:30:00.000Z" and first["monthsActive"] == 2.9
    assert answer["atRiskUsers"][1]["currentLtv"] is None and answer["atRiskUsers"][1]["lastActivity"] is None
    low = await get(site, tenant, "/churn-risk", riskTier="low")
    assert [user["userId"] for user in low["atRiskUsers"]] == ["d"]
    page = await get(site, tenant, "/churn-risk", minProbability=0.1, limit=1, offset=1)
    assert [user["userId"] for user in page["atRiskUsers"]] == ["b"]


@pytest.mark.parametrize("prefix", ["", "/api/v1", ROOT])
async def test_one_users_churn_risk_explains_itself(site: Site, tenant: str, store: Warehouse, prefix: str) -> None:
    rows.put(
        store,
        "predictions",
        rows.prediction(tenant, "a b", 0.5, "high", at=NOW - 90_000),
        rows.prediction(tenant, "a b", 0.91, "critical"),
    )
    async with site.client(tenant) as client:
        answer = (await client.get(f"{prefix}/users/a%20b/churn_risk")).json()
        assert (await client.get(f"{prefix}/users/nobody/churn_risk")).status_code == 404
    assert answer["probability"] == 0.91 and answer["model_version"] == "1.0.0+3" and answer["label_delay_days"] == 30
    assert [one["feature"] for one in answer["contributions"]] == ["recency_days", "clicks_30d", "purchases_30d"]
    assert answer["contributions"][0] == {"feature": "recency_days", "contribution": 1.5, "value": 20.0}


async def test_anomalies_filter_and_page(site: Site, tenant: str, store: Warehouse) -> None:
    rows.put(
        store,
        "anomalies",
        rows.anomaly(tenant, "x1"),
        rows.anomaly(tenant, "x2", metric="ctr", at=NOW - 120, severity="info"),
        rows.anomaly(tenant, "x3", at=NOW - 30 * 86400),
    )
    answer = await get(site, tenant, "/anomalies")
    assert [one["anomaly_id"] for one in answer["anomalies"]] == ["x1", "x2"] and answer["total"] == 2
    assert answer["anomalies"][0]["deviation_percent"] == -90.0
    assert (await get(site, tenant, "/anomalies", severity="info,warning"))["total"] == 1
    assert (await get(site, tenant, "/anomalies", metric_id="ctr"))["anomalies"][0]["anomaly_id"] == "x2"
    assert (await get(site, tenant, "/anomalies", start="-60d"))["total"] == 3
    assert (await refused(site, tenant, "/anomalies", {"severity": "fatal"}))["allowed"] == [
        "critical",
        "warning",
        "info",
    ]


async def test_alerts_show_the_newest_state(site: Site, tenant: str, store: Warehouse) -> None:
    """A filter looks at the newest version only: an alert that was open once is not open."""
    rows.put(
        store,
        "alerts",
        rows.alert(tenant, "one"),
        rows.alert(tenant, "one", state="resolved", version=2),
        rows.alert(tenant, "two", severity="critical", at=NOW - 60),
    )
    everything = await get(site, tenant, "/alerts")
    assert [(a["alert_id"], a["state"]) for a in everything["alerts"]] == [("one", "resolved"), ("two", "open")]
    assert everything["alerts"][0]["evidence"] == {"roas": 1.9} and everything["total"] == 2
    assert [a["alert_id"] for a in (await get(site, tenant, "/alerts", state="open"))["alerts"]] == ["two"]
    assert (await get(site, tenant, "/alerts", state="open,acknowledged", severity="warning"))["total"] == 0
    assert (await get(site, tenant, "/alerts/two"))["severity"] == "critical"
    assert (await refused(site, tenant, "/alerts", {"state": "closed"}))["allowed"] == [
        "open",
        "acknowledged",
        "resolved",
    ]


@pytest.mark.parametrize(("action", "state"), [("acknowledge", "acknowledged"), ("resolve", "resolved")])
async def test_an_action_publishes_one_event_of_the_pack(
    site: Site, tenant: str, store: Warehouse, action: str, state: str, packs: Any
) -> None:
    """The event is valid, has the same id however often it is asked for, and is not sent once the state is reached."""
    from schemas.taxonomy import validator

    rows.put(store, "alerts", rows.alert(tenant, "a1"))
    async with site.client(tenant) as client:
        for _ in range(2):
            answer = await client.post(f"{ROOT}/alerts/a1/{action}", json={"note": "looking", "by": "ann"})
            assert answer.json() == {"alert_id": "a1", "state": state, "changed": True}
        rows.put(store, "alerts", rows.alert(tenant, "a1", state=state, version=2))
        answer = await client.post(f"{ROOT}/alerts/a1/{action}")
        assert answer.json() == {"alert_id": "a1", "state": state, "changed": False}
        assert (await client.post(f"{ROOT}/alerts/nope/{action}")).status_code == 404
        bad = await client.post(f"{ROOT}/alerts/a1/{action}", json={"nota": 1})
        assert bad.status_code == 422 and bad.json()["errors"][0]["field"] == "nota"
        broken = await client.post(
            f"{ROOT}/alerts/a1/{action}", content=b"{", headers={"content-type": "application/json"}
        )
        assert broken.status_code == 400
    assert len(site.published) == 2 and len({event["event_id"] for _, event in site.published}) == 1
    owner, event = site.published[0]
    assert owner == tenant and event["event_type"] == f"alert_{state}"
    assert event["properties"] == {"alert_id": "a1", f"{state}_by": "ann", "note": "looking"}
    line = validator(packs["marketing"]).validate(event, received_at=site.clock.now())
    assert isinstance(line, dict), line


async def test_an_action_that_is_not_durable_is_not_confirmed(site: Site, tenant: str, store: Warehouse) -> None:
    rows.put(store, "alerts", rows.alert(tenant, "a2"))
    async with site.client(tenant) as client:
        site.refuse = Retryable("Kafka does not answer")
        answer = await client.post(f"{ROOT}/alerts/a2/resolve")
        assert answer.status_code == 503 and answer.headers["retry-after"] == "2"
        site.refuse = Permanent("resolution: is not one of the known values")
        answer = await client.post(f"{ROOT}/alerts/a2/resolve", json={"resolution": "magic"})
        assert answer.status_code == 422 and "resolution" in answer.json()["detail"]


async def test_evaluations_give_the_newest_and_the_history(site: Site, tenant: str, store: Warehouse) -> None:
    rows.put(
        store,
        "evaluations",
        rows.evaluation(tenant, "auc", 0.7, at=NOW - 172_800),
        rows.evaluation(tenant, "auc", 0.8),
        rows.evaluation(tenant, "log_loss", 0.4),
    )
    (model,) = (await get(site, tenant, "/evaluations"))["models"]
    assert model["model"] == "churn_model" and model["metrics"]["auc"] == {"value": 0.8, "n": 100}
    assert [one["value"] for one in model["history"] if one["metric"] == "auc"] == [0.7, 0.8]
    assert (await get(site, tenant, "/evaluations", model="other"))["models"] == []
