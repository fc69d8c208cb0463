"""Alerts and anomalies as the API shows them. Both tables hold versions; the newest of each row counts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from api.reader import Reader
from api.slices import Binder
from api.times import iso

_ANOMALY: Final = (
    "anomaly_id", "metric_id", "dimension", "toUnixTimestamp(bucket)", "type", "severity", "expected", "actual",
    "deviation", "score", "detector", "toUnixTimestamp64Milli(detected_at)",
)  # fmt: skip
_ALERT: Final = (
    "alert_id", "rule_id", "subject", "severity", "state", "title", "evidence", "value", "threshold", "link",
    "toUnixTimestamp64Milli(raised_at)", "toUnixTimestamp64Milli(updated_at)",
    "toUnixTimestamp64Milli(acknowledged_at)", "acknowledged_by", "toUnixTimestamp64Milli(resolved_at)", "resolved_by",
)  # fmt: skip


async def anomaly_rows(
    reader: Reader,
    tenant: str,
    start_ms: int,
    end_ms: int,
    equal: Mapping[str, str | None],
    severities: Sequence[str],
    *,
    limit: int,
    offset: int = 0,
) -> tuple[list[dict[str, Any]], int]:
    """Anomalies of [start, end), newest first, and how many there are. `equal`: column name (ours) -> value."""
    bind = Binder()
    where = f"tenant = {bind(tenant)} AND bucket >= {bind.time(start_ms)} AND bucket < {bind.time(end_ms)}"
    where += "".join(f" AND {name} = {bind(value)}" for name, value in equal.items() if value is not None)
    where += _among(bind, "severity", severities)
    source = f"FROM anomalies FINAL WHERE {where} ORDER BY bucket DESC, detected_at DESC, anomaly_id"
    rows, total = await _page(reader, bind, _ANOMALY, source, limit, offset)
    return [_anomaly(row) for row in rows], total


async def alert_rows(
    reader: Reader,
    tenant: str,
    *,
    states: Sequence[str] = (),
    severities: Sequence[str] = (),
    alert_id: str | None = None,
    limit: int = 100,
    offset: int = 0,
) -> tuple[list[dict[str, Any]], int]:
    """Alerts, newest first, and how many there are."""
    bind = Binder()
    where = f"tenant = {bind(tenant)}" + _among(bind, "state", states) + _among(bind, "severity", severities)
    if alert_id is not None:
        where += f" AND alert_id = {bind(alert_id)}"
    source = f"FROM alerts FINAL WHERE {where} ORDER BY raised_at DESC, alert_id"
    rows, total = await _page(reader, bind, _ALERT, source, limit, offset)
    return [_alert(row) for row in rows], total


def _among(bind: Binder, column: str, values: Sequence[str]) -> str:
    return f" AND {column} IN {bind(list(values), 'Array(String)')}" if values else ""


async def _page(
    reader: Reader, bind: Binder, columns: Sequence[str], source: str, limit: int, offset: int
) -> tuple[list[Any], int]:
    page = f"LIMIT {bind(limit, 'UInt32')} OFFSET {bind(offset, 'UInt32')}"
    rows = await reader.rows(f"SELECT count() OVER (), {', '.join(columns)} {source} {page}", bind.params)
    return [row[1:] for row in rows], int(rows[0][0]) if rows else 0


def _anomaly(row: Any) -> dict[str, Any]:
    anomaly_id, metric, dimension, bucket, kind, severity, *numbers, detector, detected = row
    expected, actual, deviation, score = (_finite(n) for n in numbers)
    return {
        "anomaly_id": anomaly_id,
        "metric_id": metric,
        "dimension": dimension,
        "bucket": iso(int(bucket) * 1000),
        "type": kind,
        "severity": severity,
        "expected": expected,
        "actual": actual,
        "deviation_percent": deviation,
        "score": score,
        "detector": detector,
        "detected_at": iso(int(detected)),
    }


def _alert(row: Any) -> dict[str, Any]:
    alert_id, rule, subject, severity, state, title, evidence, value, threshold, link, *rest = row
    raised, updated, acknowledged, acknowledged_by, resolved, resolved_by = rest
    return {
        "alert_id": alert_id,
        "rule_id": rule,
        "subject": subject,
        "severity": severity,
        "state": state,
        "title": title,
        "evidence": _json(evidence),
        "value": _finite(value),
        "threshold": _finite(threshold),
        "link": link,
        "raised_at": iso(raised),
        "updated_at": iso(updated),
        "acknowledged_at": iso(acknowledged),
        "acknowledged_by": acknowledged_by,
        "resolved_at": iso(resolved),
        "resolved_by": resolved_by,
    }


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _json(text: str) -> Any:
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return {"text": text}
