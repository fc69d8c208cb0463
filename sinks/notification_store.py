"""The table `notifications`: which channel was told of what. Written before a message is sent, and after."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from schemas.clock import Clock
from sinks.warehouse import Warehouse

PENDING: Final = "pending"
SENT: Final = "sent"
FAILED: Final = "failed"
UNKNOWN: Final = "unknown"

_SQL: Final = """
SELECT tenant, alert_id, channel, kind, outcome, version
FROM notifications FINAL
WHERE sent_at >= fromUnixTimestamp64Milli({since:Int64})"""


class Told(NamedTuple):
    """Key of a notification. `kind`: raised or resolved."""

    tenant: str
    alert_id: str
    channel: str
    kind: str


class NotificationRow(msgspec.Struct, frozen=True):
    """A row of `notifications`; the newest `version` holds. `sent_at`: Unix seconds. `outcome`: a word, then why."""

    tenant: str
    alert_id: str
    channel: str
    kind: str
    sent_at: float
    outcome: str
    version: int


class NotificationStore:
    """Reads and writes the table. Blocks; raises `Retryable` when the warehouse is away."""

    def __init__(self, warehouse: Warehouse, clock: Clock) -> None:
        self._warehouse = warehouse
        self._clock = clock

    def load(self, days: int) -> dict[Told, str]:
        """Outcome of every notification of the last `days`."""
        since = int((self._clock.now() - days * 86400) * 1000)
        rows = self._warehouse.query(_SQL, {"since": since})
        return {Told(row["tenant"], row["alert_id"], row["channel"], row["kind"]): row["outcome"] for row in rows}

    def record(self, key: Told, outcome: str) -> None:
        """Store an outcome; it replaces the one before. Durable when this returns."""
        now = self._clock.now()
        # PENDING and its outcome may fall into one millisecond: the outcome must win.
        version = int(now * 1000) * 2 + (outcome != PENDING)
        self._warehouse.insert_rows("notifications", [NotificationRow(*key, now, outcome, version)])
