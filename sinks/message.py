"""What a channel is told: one incident, raised or resolved."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from schemas.alerting.incident import AlertRow, Kind

_NAMESPACE: Final = uuid.UUID("0d3b8f0e-8f6b-5a49-8d0c-4f1f4f6a7c55")


@dataclass(frozen=True)
class Message:
    """An incident's row as it was when it was raised or resolved, for one channel."""

    channel: str
    kind: Kind
    row: AlertRow

    @property
    def delivery_id(self) -> str:
        """The same for every try of this message, so that a receiver can recognise a repetition."""
        return str(uuid.uuid5(_NAMESPACE, "\0".join((self.row.alert_id, self.channel, self.kind))))

    @property
    def title(self) -> str:
        """One line: severity or "resolved", what, and whose."""
        label = self.row.severity.upper() if self.kind is Kind.RAISED else "RESOLVED"
        return f"[{label}] {self.row.title} ({self.row.tenant})"

    @property
    def body(self) -> str:
        """A few lines: the numbers, the runbook and the link."""
        evidence = self.evidence
        lines = [
            f"{evidence.get('signal', self.row.rule_id)}: {_number(self.row.value)} "
            f"(threshold {_number(self.row.threshold)}, {evidence.get('sample_count', '?')} observations, "
            f"window {evidence.get('window_seconds', '?')} s)",
        ]
        if evidence.get("expected") is not None:
            lines.append(f"expected: {evidence['expected']}")
        if self.kind is Kind.RESOLVED:
            lines.append(f"resolved by {self.row.resolved_by or 'unknown'}")
        elif evidence.get("runbook"):
            lines.append(str(evidence["runbook"]))
        if self.row.link:
            lines.append(self.row.link)
        return "\n".join(lines)

    @property
    def evidence(self) -> dict[str, Any]:
        """The row's evidence, parsed; empty when it is none."""
        try:
            found = msgspec.json.decode(self.row.evidence)
        except msgspec.DecodeError:
            return {}
        return found if isinstance(found, dict) else {}

    def as_json(self) -> bytes:
        """The body of a webhook."""
        alert = {**msgspec.structs.asdict(self.row), "evidence": self.evidence}
        return msgspec.json.encode({"kind": self.kind.value, "delivery_id": self.delivery_id, "alert": alert})


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
