"""The taxonomy's own events about what the models did, as the public door takes them (plain dicts, ready to publish).

Ids are derived from what the event is about, so publishing the same thing again is recognised as a duplicate.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, Final

from schemas.segments import pattern_uuid

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


def user_segmented(
    *, tenant: str, user_id: str, at: float, segment: str, score: float, before: str, reason: str, matching: list[str]
) -> Event:
    """`user_segmented`: the segments by their names, and by the UUIDs of `schemas.segments`. `before`: "" for none."""
    properties = {
        "segment_id": pattern_uuid(segment),
        "segment_type": segment,
        "segment_score": score,
        "segment_change_reason": reason,
        "matching_segments": matching,
    }
    return _about_segment("user_segmented", tenant, user_id, at, before, properties)


def user_unsegmented(*, tenant: str, user_id: str, at: float, before: str, reason: str) -> Event:
    """`user_unsegmented`: no pattern fits any more."""
    return _about_segment("user_unsegmented", tenant, user_id, at, before, {"segment_change_reason": reason})


def _about_segment(
    event_type: str, tenant: str, user_id: str, at: float, before: str, properties: dict[str, Any]
) -> Event:
    """One for each user and moment, whatever it says."""
    previous = {"previous_segment": pattern_uuid(before)} if before else {}
    return {
        "event_id": stable_id("segment_of_user", tenant, user_id, iso(at)),
        "event_type": event_type,
        "timestamp": iso(at),
        "user_id": user_id,
        "source": "backend",
        "properties": {**properties, **previous},
    }


def segments_refreshed(*, tenant: str, at: float, users: int) -> Event:
    """`data_refresh_completed` of the segments: the round of the midnight `at` is over."""
    refresh_id = stable_id("segments_refreshed", tenant, iso(at))
    return {
        "event_id": refresh_id,
        "event_type": "data_refresh_completed",
        "timestamp": iso(at),
        "user_id": SYSTEM_USER,
        "source": "backend",
        "properties": {"refresh_id": refresh_id, "data_source": "segments", "records_processed": users},
    }
