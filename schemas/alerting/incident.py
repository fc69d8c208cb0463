"""An incident as it is stored: one row of `alerts`, and the words for what can happen to it."""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import Final

import msgspec

_NAMESPACE: Final = uuid.UUID("6f0f3a52-6d5c-5d7e-9d0b-3d0a1f0f8a11")


class State(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Kind(StrEnum):
    """What happened to an incident. `raised` and `resolved` are told to channels, the others are only stored."""

    RAISED = "raised"
    UPDATED = "updated"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


SYSTEM: Final = "system"
"""`resolved_by` where the cause went away."""

STALE: Final = "stale"
"""`resolved_by` where nothing could be said about the cause for long."""

RULE_REMOVED: Final = "rule_removed"
"""`resolved_by` where the rule is not declared any more."""

NOT_PEOPLE: Final = frozenset({SYSTEM, STALE, RULE_REMOVED})


class AlertRow(msgspec.Struct, frozen=True):
    """A row of `alerts`; the newest `version` holds. Times: Unix seconds. `evidence`: a JSON object as text."""

    tenant: str
    alert_id: str
    rule_id: str
    subject: str
    severity: str
    state: str
    title: str
    evidence: str
    value: float | None
    threshold: float | None
    link: str
    raised_at: float
    updated_at: float
    version: int
    acknowledged_at: float | None = None
    acknowledged_by: str = ""
    resolved_at: float | None = None
    resolved_by: str = ""


def alert_id(tenant: str, rule_id: str, subject: str, first_breach: float) -> str:
    """The id of the incident whose first breach was measured at `first_breach` (Unix seconds, to the millisecond)."""
    return str(uuid.uuid5(_NAMESPACE, "\0".join((tenant, rule_id, subject, str(round(first_breach * 1000))))))
