"""Churn, anomalies, alerts and evaluations through HTTP, over the real engine."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from api.routing import ROOT
from schemas.errors import Permanent, Retryable
from schemas.taxonomy import validator
from sinks.warehouse import Warehouse
from tests.api import rows
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.world import NOW, World
from tests.oracle.segments import orders


async def test_churn_risk_is_the_newest_round_in_the_seed_shape(
    site: Site, tenant: str, store: Warehouse, insert: Callable[[str, list[Any]], None]
) -> None:
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
    rows.put(store, "rounds", rows.churn_round(tenant, NOW - 90_000), rows.churn_round(tenant))
    rows.put(store, "user_state", rows.user_state(tenant, "a", 0), rows.user_state(tenant, "d", 0))
    insert(tenant, [ordered("a", 100.5), ordered("d", 1000.0)])
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


async def test_who_was_active_since_the_round_is_looked_at_again_and_nobody_else_is_forgotten(
    site: Site, tenant: str, store: Warehouse
) -> None:
    """Between rounds only users who come by get a fresh score; the others keep the round's."""
    rows.put(
        store,
        "predictions",
        *(
            rows.prediction(tenant, user, p, "critical")
            for user, p in {"away": 0.95, "back": 0.9, "worse": 0.8}.items()
        ),
        rows.prediction(tenant, "back", 0.1, "low", at=NOW - 60),
        rows.prediction(tenant, "worse", 0.85, "critical", at=NOW - 60),
        rows.prediction(tenant, "new", 0.4, "medium", at=NOW - 30),
        rows.prediction(tenant, "back", 0.05, "low", at=NOW - 30),
    )
    rows.put(store, "rounds", rows.churn_round(tenant))
    answer = await get(site, tenant, "/churn-risk")
    assert [(one["userId"], one["churnProbability"]) for one in answer["atRiskUsers"]] == [
        ("away", 0.95), ("worse", 0.85), ("new", 0.4),
    ]  # fmt: skip
    assert [one["scoredAt"][11:19] for one in answer["atRiskUsers"]] == ["08:30:00", "09:29:00", "09:29:30"]
    assert (answer["summary"]["totalAtRisk"], answer["summary"]["criticalRisk"]) == (3, 2)
    assert answer["as_of"] == "2026-11-21T09:29:30.000Z"
    assert (await get(site, tenant, "/churn-risk", riskTier="low"))["atRiskUsers"][0]["churnProbability"] == 0.05


def ordered(user: str, value: float) -> dict[str, Any]:
    """A purchase."""
    told = {"order_id": str(uuid.uuid4()), "order_value": value}
    return {
        "event_id": str(uuid.uuid4()), "event_type": "user_purchased", "timestamp": NOW - 86_400, "user_id": user,
        "session_id": "s", "source": "backend", "properties": told,
    }  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_users_at_risk_are_worth_equals_the_independent_sums(
    site: Site, tenant: str, store: Warehouse, insert: Callable[[str, list[Any]], None], seed: int
) -> None:
    """Orders that were reported twice, also under other users and ids, count once; repeated rows count once."""
    world = World(seed)
    events = world.events(400)
    insert(tenant, events + world.rng.sample(events, 100))
    worth = Counter[str]()
    for one in orders(events, int(NOW * 1000)):
        worth[one.user_id] += one.micros
    risk = {user: world.rng.random() for user in world.users}
    tiers = (("critical", 0.8), ("high", 0.5), ("medium", 0.3), ("low", 0.0))
    tier = {user: next(name for name, least in tiers if p >= least) for user, p in risk.items()}
    rows.put(store, "predictions", *(rows.prediction(tenant, user, p, tier[user]) for user, p in risk.items()))
    rows.put(store, "user_state", *(rows.user_state(tenant, user, 1) for user in world.users))
    summary = (await get(site, tenant, "/churn-risk"))["summary"]
    everybody = (await get(site, tenant, "/churn-risk", minProbability=0))["atRiskUsers"]
    assert {one["userId"]: one["currentLtv"] for one in everybody} == {u: worth[u] / 1e6 for u in world.users}
    worst = {user for user in world.users if tier[user] != "low"}
    assert 0 < len(worst) < len(world.users)
    assert summary["potentialRevenueAtRisk"] == sum(worth[user] for user in worst) / 1e6
    assert summary["totalAtRisk"] == len(worst)
    page = (await get(site, tenant, "/churn-risk", minProbability=0, limit=3, offset=2))["atRiskUsers"]
    assert page == everybody[2:5]


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
