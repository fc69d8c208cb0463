"""Incidents for tests."""

from __future__ import annotations

import json

import msgspec

from schemas.alerting.incident import AlertRow, Kind, State
from sinks.message import Message

NOW = 1_763_712_000.0


def alert(name: str = "a1", **changes: object) -> AlertRow:
    """A critical open incident of tenant `t`."""
    row = AlertRow(
        tenant="t",
        alert_id=name,
        rule_id="roas_low",
        subject="campaign:c1",
        severity="critical",
        state=State.OPEN.value,
        title="ROAS of c1 is 1.23",
        evidence=json.dumps({"signal": "metric.roas", "sample_count": 40, "window_seconds": 86400, "runbook": "look"}),
        value=1.23456,
        threshold=2.0,
        link="https://dash/#/alerts/a1",
        raised_at=NOW,
        updated_at=NOW,
        version=1,
    )
    return msgspec.structs.replace(row, **changes)


def message(kind: Kind = Kind.RAISED, channel: str = "ops") -> Message:
    return Message(channel, kind, alert())
