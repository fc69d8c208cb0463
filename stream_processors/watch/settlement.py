"""Having everything follow when events were moved to `conflicts`: the events, the ledger, windows and user states.

A moved row is pending until all of it is done; done again, each step changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from schemas.wire import CorrectionLine, LedgerLine, encode_lines
from stream_processors.ports import CorrectionPort, WarehousePort
from stream_processors.sql import groups, text_list
from stream_processors.watch.conflict_rows import COLUMNS, settled_row
from stream_processors.windows import HOLDOUT, CellKey, correction

PAGE: Final = 500
GRACE_SECONDS: Final = 300.0
"""How long a row waits for its chunk's own counts in the ledger; a worker writes them just after the events."""

REASON: Final = "conflict"
"""Ledger reason, under stage `duplicate`, of events that were taken out of `events` again."""


class Settlement:
    """`pending`: whether some moved row may wait."""

    def __init__(self, warehouse: WarehousePort, corrections: CorrectionPort) -> None:
        self._warehouse, self._corrections = warehouse, corrections
        self.pending = True

    def settle(self, now: float) -> None:
        """Do all that is pending; `now`: Unix seconds. Raises `Retryable` or `Permanent`, the rest stays pending."""
        waiting: set[tuple[str, str, int]] = set()
        while self.pending:
            rows = [row for row in self._unsettled(len(waiting)) if _key(row) not in waiting]
            if not rows:
                self.pending = bool(waiting)
                return
            self._delete(rows)
            counted = self._counted(rows)
            early = [row for row in rows if now - row["found_at"] < GRACE_SECONDS and _place(row) not in counted]
            waiting.update(map(_key, early))
            self._finish([row for row in rows if _key(row) not in waiting])

    def _finish(self, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            self._count(rows)
            self._correct(rows)
            self._warehouse.insert_lines("conflicts", b"".join(map(settled_row, rows)))

    def _unsettled(self, skip: int) -> list[dict[str, Any]]:
        names = (*COLUMNS, "found_at", "kind", "moved", "winner_chunk", "winner_user_id", "winner_received_at")
        return self._warehouse.query(
            f"SELECT {', '.join(names)}, revision FROM conflicts FINAL WHERE moved AND NOT settled"
            f" ORDER BY tenant, event_id, chunk LIMIT {PAGE + skip}"
        )

    def _delete(self, rows: Sequence[dict[str, Any]]) -> None:
        for keys in groups(f"({_texts(row['tenant'], row['event_id'])},{int(row['chunk'])})" for row in rows):
            where = f"(tenant, event_id, chunk) IN ({','.join(keys)})"
            if self._warehouse.query(f"SELECT 1 AS one FROM events WHERE {where} LIMIT 1"):
                self._warehouse.command(f"DELETE FROM events WHERE {where}")

    def _counted(self, rows: Sequence[dict[str, Any]]) -> set[tuple[str, int, int]]:
        """(tenant, minute of receipt, chunk) that a worker has counted in the ledger."""
        found = self._ledger(rows, "accepted", "tenant, toUnixTimestamp(minute) AS at, origin")
        return {(row["tenant"], int(row["at"]), int(row["origin"])) for row in found}

    def _count(self, rows: Sequence[dict[str, Any]]) -> None:
        """The ledger's rows of these chunks, counted from all of `conflicts`: as duplicates, and no longer as late."""
        counts = self._warehouse.query(
            "SELECT tenant, toUnixTimestamp(toStartOfMinute(received_at)) AS at, chunk, uniqExact(event_id) AS n,"
            " uniqExactIf(event_id, NOT backfill AND received_at - timestamp > 86400) AS late FROM conflicts"
            f" WHERE moved AND tenant IN {text_list({row['tenant'] for row in rows})}"
            f" AND chunk IN ({_chunks(rows)}) GROUP BY tenant, at, chunk"
        )
        lines: list[LedgerLine] = []
        late: dict[tuple[str, int, int], int] = {}
        for row in counts:
            tenant, minute, chunk, n = row["tenant"], int(row["at"]), int(row["chunk"]), int(row["n"])
            lines.append(LedgerLine(tenant, minute, "duplicate", REASON, chunk, n, n))
            late[tenant, minute, chunk] = int(row["late"])
        if any(late.values()):
            lines += self._less_late(rows, late)
        self._warehouse.insert_lines("ledger", encode_lines(lines))

    def _less_late(self, rows: Sequence[dict[str, Any]], late: dict[tuple[str, int, int], int]) -> Iterable[LedgerLine]:
        """Late counts less the moved ones. A worker writes version 1; ours is one more for each that was taken off."""
        names = "tenant, toUnixTimestamp(minute) AS at, origin, n, version"
        for row in self._ledger(rows, "late", names):
            place = row["tenant"], int(row["at"]), int(row["origin"])
            if late.get(place):
                whole = int(row["n"]) + int(row["version"]) - 1
                yield LedgerLine(*place[:2], "late", "", place[2], whole - late[place], late[place] + 1)

    def _ledger(self, rows: Sequence[dict[str, Any]], stage: str, names: str) -> list[dict[str, Any]]:
        minutes = ",".join(str(minute) for minute in sorted({_place(row)[1] for row in rows}))
        return self._warehouse.query(
            f"SELECT {names} FROM ledger FINAL WHERE tenant IN {text_list({row['tenant'] for row in rows})}"
            f" AND minute IN ({minutes}) AND stage = '{stage}' AND reason = '' AND origin IN ({_chunks(rows)})"
        )

    def _correct(self, rows: Sequence[dict[str, Any]]) -> None:
        partitions = self._corrections.partitions()
        lines: dict[int, set[CorrectionLine]] = {}
        for row in rows:
            line = correction(row["tenant"], row["timestamp"], row["user_id"], _cell(row))
            lines.setdefault(int(row["slot"]) % partitions, set()).add(line)
        for partition, some in sorted(lines.items()):
            self._corrections.correct(partition, encode_lines(sorted(some, key=msgspec.structs.astuple)))


def _key(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["tenant"], row["event_id"], int(row["chunk"])


def _place(row: dict[str, Any]) -> tuple[str, int, int]:
    """Tenant, minute of receipt, chunk."""
    return row["tenant"], int(row["received_at"]) // 60 * 60, int(row["chunk"])


def _cell(row: dict[str, Any]) -> CellKey:
    subtype = HOLDOUT if row["is_holdout"] else row["subtype"]
    return row["event_type"], subtype, row["campaign_id"], row["creative_id"], row["segment"], row["channel"]


def _chunks(rows: Sequence[dict[str, Any]]) -> str:
    return ",".join(str(chunk) for chunk in sorted({int(row["chunk"]) for row in rows}))


def _texts(*values: str) -> str:
    return text_list(values)[1:-1]
