"""The settled record of anomalies at work: closes every bucket a little after it ended, once all that counts is stored.

Reads: `events`. Writes: `anomalies` (settled rows, over those that were announced) and a row of `rounds` a bucket. On
failure: a passing fault puts the look off; the bucket is repeated with equal rows. A process that starts begins a new
run with the bucket after the last that was closed, or with the present one when that is long ago.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from schemas.clock import Clock
from schemas.errors import Permanent, Retryable
from stream_processors.insights.anomaly_record import RECORD, AnomalyRecord, Row, round_row
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import WarehousePort
from stream_processors.routes import Background
from stream_processors.sql import Roles, text_list

log = logging.getLogger("headrace.anomalies")

LOOK_SECONDS: Final = 15.0
WAIT_SECONDS: Final = 10.0
"""How long after its cutoff a bucket is closed at the earliest."""

MOST_BEHIND: Final = 288
"""Buckets that are caught up after a start, at most: a day."""


class AnomalyWatch:
    """`stored_until`: a moment (Unix seconds) such that all events received before it are stored; may block."""

    def __init__(
        self,
        packs: Mapping[str, Roles],
        warehouse: WarehousePort,
        clock: Clock,
        metrics: WorkerMetrics,
        stored_until: Callable[[], float],
    ) -> None:
        self._packs, self._warehouse, self._clock, self._metrics = packs, warehouse, clock, metrics
        self._stored_until = stored_until
        self._record: AnomalyRecord | None = None

    def background(self) -> tuple[Background, ...]:
        """The look for closed buckets."""
        return (Background("anomaly record", LOOK_SECONDS, self.look),)

    def look(self) -> None:
        """Close what is due; a passing fault is logged, and a new run begins where the last one stopped."""
        try:
            self._look()
        except (Retryable, Permanent) as error:
            self._record = None
            self._metrics.retried("anomaly_record")
            log.warning("the record of anomalies is put off: %s", error)

    def _look(self) -> None:
        record = self._record or self._begin()
        if record.cutoff(record.next) + WAIT_SECONDS > self._clock.now():
            return
        for slot, rows in record.advance(record.slot_of(self._stored_until())):
            self._warehouse.insert_lines("anomalies", _lines(self._as_announced(rows)))
            self._warehouse.insert_lines("rounds", orjson.dumps(round_row(record, slot)) + b"\n")

    def _begin(self) -> AnomalyRecord:
        record = AnomalyRecord(self._warehouse, self._packs.values())
        present = record.slot_of(self._clock.now())
        last = self._warehouse.query(
            f"SELECT toUnixTimestamp(max(as_of)) AS at FROM rounds WHERE tenant = '' AND model = '{RECORD}'"
        )[0]["at"]
        following = record.slot_ended(float(last)) + 1
        record.begin(following if present - MOST_BEHIND <= following <= present else present)
        self._record = record
        return record

    def _as_announced(self, rows: list[Row]) -> list[Row]:
        """Rows that were announced keep the moment of it."""
        if not rows:
            return rows
        ids = text_list(str(row["anomaly_id"]) for row in rows)
        known = self._warehouse.query(
            f"SELECT anomaly_id, min(toFloat64(detected_at)) AS at FROM anomalies WHERE anomaly_id IN {ids}"
            " GROUP BY anomaly_id"
        )
        at = {str(row["anomaly_id"]): float(row["at"]) for row in known}
        return [
            {**row, "detected_at": round(min(row["detected_at"], at.get(row["anomaly_id"], row["detected_at"])), 3)}
            for row in rows
        ]


def _lines(rows: list[Row]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)
