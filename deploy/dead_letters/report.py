"""A replay in numbers: what was asked for, what became of it, and the event that says so for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid5

from deploy.dead_letters.originals import NAMESPACE
from schemas.dead_letters.selection import OPEN, Selection

SAMPLES: Final = 10
"""Refused letters that a report shows."""


@dataclass(frozen=True)
class Order:
    """Who replays what. `again`: settled letters too. `limit`: most letters to look at. `replay_id` names the run."""

    selection: Selection
    actor: str
    replay_id: str
    again: bool = False
    limit: int | None = None


@dataclass
class Report:
    """What became of the letters of one tenant. `refused`: by reason. `before`, `after`: letters by state."""

    selected: int = 0
    examined: int = 0
    accepted: int = 0
    events: int = 0
    already_stored: int = 0
    skipped: int = 0
    changed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    samples: list[dict[str, str]] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """As CLI and API show it."""
        return {
            "selected": self.selected,
            "examined": self.examined,
            "accepted": self.accepted,
            "still_rejected": self.refused.total(),
            "already_stored": self.already_stored,
            "skipped": self.skipped,
            "rejected_by_reason": dict(sorted(self.refused.items())),
            "before": self.before,
            "after": self.after,
            "samples": self.samples,
        }


Reports = dict[str, Report]
"""By tenant."""


def audit_event(order: Order, report: Report, tenant: str, patch: str, at: str) -> Mapping[str, Any]:
    """The `dead_letters_replayed` event of one tenant. The same run gives the same id."""
    properties = {
        "replay_id": order.replay_id,
        "replayed_by": order.actor,
        "selection": order.selection.describe(),
        "patch_sha256": patch,
        "selected": report.selected,
        "accepted": report.accepted,
        "still_rejected": report.refused.total(),
        "already_stored": report.already_stored,
        "skipped": report.skipped,
        "open_before": sum(report.before.get(state, 0) for state in OPEN),
        "open_after": sum(report.after.get(state, 0) for state in OPEN),
    }
    return {
        "event_id": str(uuid5(NAMESPACE, f"{order.replay_id}/{tenant}")),
        "event_type": "dead_letters_replayed",
        "timestamp": at,
        "user_id": order.actor,
        "source": "backend",
        "properties": {name: value for name, value in properties.items() if value != ""},
    }
