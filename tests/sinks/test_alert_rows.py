"""Incidents through the real table `alerts` and back into an engine."""

from __future__ import annotations

import time

import msgspec
import pytest

from schemas.alerting.incident import Kind
from schemas.alerting.readings import Reading
from schemas.alerting.rules import load_rules
from schemas.wire import encode_lines
from sinks.warehouse import Warehouse
from stream_processors.alerting.engine import AlertEngine

pytestmark = pytest.mark.integration


def test_an_engine_takes_up_from_the_stored_rows(warehouse: Warehouse) -> None:
    """Times have all the digits that a clock gives; the newest version of a row holds."""
    now = time.time()
    reading = Reading("t", "validation_pass_rate_percent", "", 300.0, 80.123456789, 500, now, {"expected": 99.5})
    first = AlertEngine(load_rules(), "https://h")
    [raised] = first.observe([reading], now)
    action = {
        "tenant": "t",
        "event_type": "alert_acknowledged",
        "user_id": "ann",
        "received_at": now + 1.5,
        "properties": {"alert_id": raised.row.alert_id},
    }
    [taken] = first.fold_action(action)
    warehouse.insert_lines("alerts", encode_lines([taken.row]))
    warehouse.insert_lines("alerts", encode_lines([raised.row]))
    [row] = warehouse.query("SELECT * FROM alerts FINAL")
    close = {
        name: pytest.approx(value, abs=0.002)
        for name, value in msgspec.structs.asdict(taken.row).items()
        if name.endswith("_at") and value
    }
    assert row == msgspec.structs.asdict(taken.row) | close
    second = AlertEngine(load_rules(), "https://h")
    second.restore([row], now + 5)
    assert second.observe([msgspec.structs.replace(reading, at=now + 6)], now + 6) == []
    good = msgspec.structs.replace(reading, value=99.0)
    assert second.observe([good], now + 10) == []
    [ended] = second.observe([good], now + 200)
    assert ended.kind is Kind.RESOLVED
    assert (ended.row.acknowledged_by, ended.row.resolved_by) == ("ann", "system")
