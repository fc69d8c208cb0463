"""Rows of the tables that other parts write, for tests to store."""

from __future__ import annotations

from typing import Any

import orjson

from sinks.warehouse import Warehouse
from tests.api.world import NOW


def put(store: Warehouse, table: str, *rows: dict[str, Any]) -> None:
    store.insert_lines(table, b"\n".join(map(orjson.dumps, rows)))


def ledger(
    tenant: str, stage: str, n: int, *, minute: float = NOW - 600, reason: str = "", origin: int = 1, version: int = 1
) -> dict[str, Any]:
    """`origin`: the incarnation 1; for what workers count, its chunk 1."""
    if origin == 1 and stage in ("accepted", "rejected", "duplicate", "late"):
        origin = 1 << 32 | 1
    return {
        "tenant": tenant,
        "minute": int(minute // 60) * 60,
        "stage": stage,
        "reason": reason,
        "origin": origin,
        "n": n,
        "version": version,
    }


def alert(
    tenant: str, alert_id: str, *, state: str = "open", severity: str = "warning", version: int = 1, at: float = NOW
) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "alert_id": alert_id,
        "rule_id": "roas_low",
        "subject": "",
        "severity": severity,
        "state": state,
        "title": "ROAS is low",
        "evidence": '{"roas": 1.9}',
        "value": 1.9,
        "threshold": 2.5,
        "link": "",
        "raised_at": at,
        "updated_at": at,
        "acknowledged_by": "",
        "resolved_by": "",
        "version": version,
    }


def rejected(tenant: str, event_id: str) -> dict[str, Any]:
    """A row of `rejected_events`."""
    return {
        "tenant": tenant,
        "received_at": NOW - 10,
        "reason": "missing_field",
        "field": "user_id",
        "message": "is missing",
        "chunk": 7,
        "index": 0,
        "event_id": event_id,
        "event_type": "user_purchased",
        "original": "{}",
        "encoding": "utf-8",
    }


def conflict(tenant: str, event_id: str) -> dict[str, Any]:
    """A row of `conflicts`: the same id with another body."""
    return {
        "tenant": tenant,
        "event_id": event_id,
        "found_at": NOW - 10,
        "kind": "body",
        "winner_chunk": 1,
        "winner_user_id": "u",
        "winner_received_at": NOW - 20,
        "revision": 1,
        "event_type": "user_purchased",
        "timestamp": NOW - 30,
        "received_at": NOW - 15,
        "user_id": "u",
        "chunk": 2,
        "properties": "{}",
        "context": "{}",
    }


def anomaly(
    tenant: str, anomaly_id: str, *, metric: str = "revenue", at: float = NOW - 60, severity: str = "critical"
) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "anomaly_id": anomaly_id,
        "metric_id": metric,
        "dimension": "",
        "bucket": int(at // 60) * 60,
        "type": "drop",
        "severity": severity,
        "expected": 100.0,
        "actual": 10.0,
        "deviation": -90.0,
        "score": 0.9,
        "detector": "rolling_median",
        "detected_at": at,
        "version": 1,
    }


def prediction(
    tenant: str, user: str, probability: float, tier: str, *, at: float = NOW - 3600, version: int = 1
) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "model": "churn_model",
        "model_version": "1.0.0+3",
        "subject_id": user,
        "as_of": at,
        "prediction_id": f"p-{user}",
        "probability": probability,
        "tier": tier,
        "base": -1.0,
        "contributions": {"recency_days": 1.5, "purchases_30d": -0.5, "clicks_30d": 0.5},
        "features": {"recency_days": 20.0},
        "label": None,
        "version": version,
    }


def churn_round(tenant: str, at: float = NOW - 3600) -> dict[str, Any]:
    """A row of `rounds`: the churn model looked at everybody."""
    times = {"as_of": at, "since": at - 86_400, "known_by": at + 60}
    return {"tenant": tenant, "model": "churn_model", **times, "version": 1}


def user_state(tenant: str, user: str, micros: int) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "user_id": user,
        "first_seen": NOW - 90 * 86400,
        "last_seen": NOW - 86400,
        "last_active": NOW - 2 * 86400,
        "signed_up_at": None,
        "first_purchase_at": None,
        "last_purchase_at": None,
        "unsubscribed_at": None,
        "events": 3,
        "purchases": 1,
        "monetary_micros": micros,
        "sessions": 1,
        "delivered": {},
        "opened": {},
        "clicked": 0,
        "segment": "S",
        "version": 1,
    }


def window(
    tenant: str,
    minute: float,
    event_type: str,
    events: int,
    *,
    micros: int = 0,
    campaign: str = "",
    shard: str = "0/2",
    version: int = 1,
) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "minute": int(minute // 60) * 60,
        "event_type": event_type,
        "subtype": "",
        "campaign_id": campaign,
        "creative_id": "",
        "segment": "",
        "channel": "",
        "shard": shard,
        "events": events,
        "users": events,
        "amount_micros": micros,
        "late": 1,
        "version": version,
    }


def evaluation(tenant: str, metric: str, value: float, *, at: float = NOW - 86400) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "model": "churn_model",
        "model_version": "1.0.0",
        "as_of": at,
        "metric": metric,
        "value": value,
        "n": 100,
        "version": 1,
    }


def correction(tenant: str, campaign: str, *, events: int = 5) -> dict[str, Any]:
    """So many clicks of a campaign that came late."""
    return {
        "tenant": tenant,
        "found_at": NOW - 60,
        "day": "2026-11-19",
        "family": "clicked",
        "dimension": "campaign_id",
        "value": campaign,
        "events_before": 0,
        "events_after": events,
    }
