"""What an alert shows: the title, the link and the JSON that explains it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec

from schemas.alerting.readings import METRIC_PREFIX, SIGNALS, Reading, split_subject
from schemas.alerting.rules import Rule

MAX_BYTES: Final = 16_384
MAX_CONTRIBUTORS: Final = 10


def evidence_of(rule_id: str, rule: Rule, reading: Reading, first_breach: float, last_breach: float) -> str:
    """The evidence of an incident as JSON text: the judgement, then what the caller knows about the reading."""
    given = dict(reading.evidence)
    contributors = given.pop("contributors", None)
    found: dict[str, Any] = {
        "rule": rule_id,
        "description": rule.description,
        "runbook": rule.runbook.strip(),
        "signal": reading.signal,
        "unit": _unit(reading.signal),
        "subject": reading.subject,
        "value": reading.value,
        "comparison": rule.comparison,
        "threshold": rule.threshold,
        "expected": given.pop("expected", None),
        "window_seconds": reading.window,
        "sample_count": reading.count,
        "min_count": rule.min_count,
        "measured_at": reading.at,
        "first_breach_at": first_breach,
        "last_breach_at": last_breach,
    }
    if isinstance(contributors, list | tuple):
        found["contributors"] = list(contributors)[:MAX_CONTRIBUTORS]
    for extra in ({**found, "details": given}, found, {**found, "contributors": []}):
        text = msgspec.json.encode(extra, enc_hook=str)
        if len(text) <= MAX_BYTES:
            break
    return text.decode()


def read_evidence(text: str) -> dict[str, Any]:
    """The evidence of a stored row; empty when it is no JSON object."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def title_of(rule: Rule, reading: Reading) -> str:
    """The rule's title, filled in."""
    name = split_subject(reading.subject)[1] or reading.tenant
    return rule.title.format_map(
        {
            "value": reading.value,
            "threshold": rule.threshold,
            "count": reading.count,
            "subject": reading.subject,
            "name": name,
            "tenant": reading.tenant,
        }
    )


def link_of(rule: Rule, rule_id: str, reading: Reading, alert: str, base: str) -> str:
    """The rule's link, filled in. `base`: address of the dashboard, without a slash at its end."""
    name = split_subject(reading.subject)[1]
    return rule.link.format_map(
        {
            "base": base,
            "alert_id": alert,
            "rule_id": rule_id,
            "tenant": _quote(reading.tenant),
            "subject": _quote(reading.subject),
            "name": _quote(name),
        }
    )


def _quote(text: str) -> str:
    return quote(text, safe="")


def _unit(signal: str) -> str:
    return "" if signal.startswith(METRIC_PREFIX) else SIGNALS[signal].unit
