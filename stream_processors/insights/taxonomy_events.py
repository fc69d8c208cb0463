"""The taxonomy's own events about what the models did, as the public door takes them (plain dicts, ready to publish).

Ids are derived from what the event is about, so publishing the same thing again is recognised as a duplicate.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, Final

Event = dict[str, Any]

_NAMESPACE: Final = uuid.UUID("6f6f4b0e-5a0c-5d5e-9a1f-0d7c2b1e4a55")
SYSTEM_USER: Final = "headrace"
"""`user_id` of events that are about no person."""


def stable_id(*parts: str) -> str:
    """The UUID (version 5) of `parts`; the same parts always give the same one, other parts another."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)))


def iso(seconds: float) -> str:
    """Unix seconds as ISO 8601 in UTC with milliseconds."""
    return datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def inference_completed(
    *,
    prediction_id: str,
    model: str,
    user_id: str,
    at: float,
    probability: float,
    top: list[tuple[str, float]],
) -> Event:
    """`model_inference_completed`. Confidence: the probability of the likelier outcome. Durations under 1 ms are 0."""
    return {
        "event_id": stable_id("model_inference_completed", prediction_id),
        "event_type": "model_inference_completed",
        "timestamp": iso(at),
        "user_id": user_id,
        "source": "backend",
        "properties": {
            "model_name": model,
            "inference_timestamp": iso(at),
            "input_record_id": prediction_id,
            "prediction": probability,
            "confidence_score": max(probability, 1.0 - probability),
            "inference_duration_ms": 0,
            "feature_importance_top_3": dict(top),
        },
    }


def anomaly_detected(
    *,
    anomaly_id: str,
    at: float,
    metric: str,
    kind: str,
    severity: str,
    expected: float,
    actual: float,
    deviation_percent: float,
    affected: int,
) -> Event:
    """`anomaly_detected`; nothing is remedied automatically."""
    return {
        "event_id": stable_id("anomaly_detected", anomaly_id),
        "event_type": "anomaly_detected",
        "timestamp": iso(at),
        "user_id": SYSTEM_USER,
        "source": "backend",
        "properties": {
            "anomaly_id": anomaly_id,
            "metric_id": metric,
            "anomaly_type": kind,
            "anomaly_severity": severity,
            "expected_value": expected,
            "actual_value": actual,
            "percentage_deviation": deviation_percent,
            "affected_records": affected,
            "auto_remediation_applied": False,
        },
    }
