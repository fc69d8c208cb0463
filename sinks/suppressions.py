"""Suppressions in the warehouse: whose events are not to be kept, from when to when. Raises what the warehouse does.

A span begins and ends some seconds after it was asked for (`DELAY_SECONDS`), when every worker has read of it: whether
an event is kept then depends on nothing but the span and the time of receipt, so that it is the same in every replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from schemas.wire import encode_lines

DELAY_SECONDS: Final = 10.0
FOREVER: Final = 4_102_444_800.0
"""2100-01-01, Unix seconds: the end of a span that nobody has ended."""
_COLUMNS: Final = "tenant, user_id, toFloat64(since) AS since, toFloat64(until) AS until, reason, actor, version"

Spans = Mapping[tuple[str, str], list[tuple[float, float]]]
"""(tenant, user) -> from when on, and until when, events that are received are dropped; Unix seconds."""


class SuppressionRow(msgspec.Struct, frozen=True):
    """A row of `suppressions`. Times: Unix seconds."""

    tenant: str
    user_id: str
    since: float
    until: float
    reason: str
    actor: str
    version: int


class Statements(Protocol):
    """The part of `Warehouse` that this module uses."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]: ...
    def insert_lines(self, table: str, ndjson: bytes) -> None: ...


class SuppressionBook:
    """Reads and writes suppressions. Every call blocks. Times are by the warehouse's clock."""

    def __init__(self, warehouse: Statements) -> None:
        self._warehouse = warehouse

    def spans(self) -> Spans:
        """All of them."""
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for row in self._rows("1", {}):
            if row.since < row.until:
                found.setdefault((row.tenant, row.user_id), []).append((row.since, row.until))
        return found

    def rows(self, tenant: str, user_id: str = "") -> list[SuppressionRow]:
        """A tenant's, the newest first; those of one user when it is named."""
        mine = " AND user_id = {user:String}" if user_id else ""
        return self._rows(f"tenant = {{tenant:String}}{mine}", {"tenant": tenant, "user": user_id})

    def add(self, tenant: str, user_id: str, reason: str, actor: str) -> SuppressionRow:
        """Drop the user's events from soon on; a span that is open already is left as it is."""
        now = self._now()
        for row in self.rows(tenant, user_id):
            if row.until > now + DELAY_SECONDS:
                return row
        since = round(now + DELAY_SECONDS, 3)
        added = SuppressionRow(tenant, user_id, since, FOREVER, reason, actor, int(now * 1000))
        self._warehouse.insert_lines("suppressions", encode_lines([added]))
        return added

    def remove(self, tenant: str, user_id: str, actor: str) -> list[SuppressionRow]:
        """Keep the user's events again from soon on; the spans that end by it."""
        now = self._now()
        until = round(now + DELAY_SECONDS, 3)
        ended = [
            msgspec.structs.replace(row, until=until, actor=actor, version=int(now * 1000) + 1)
            for row in self.rows(tenant, user_id)
            if row.until > until
        ]
        self._warehouse.insert_lines("suppressions", encode_lines(ended))
        return ended

    def _rows(self, where: str, params: Mapping[str, Any]) -> list[SuppressionRow]:
        found = self._warehouse.query(
            f"SELECT {_COLUMNS} FROM suppressions FINAL WHERE {where} ORDER BY since DESC, tenant, user_id", params
        )
        return [msgspec.convert(row, SuppressionRow, strict=False) for row in found]

    def _now(self) -> float:
        return float(self._warehouse.query("SELECT toFloat64(now64(3, 'UTC')) AS now")[0]["now"])
