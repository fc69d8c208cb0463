"""The settled record of anomalies: the verdict on each bucket once it closed, as a function of the events alone.

What is announced while it happens depends on when somebody looked. This is judged beside it, for the record, by the
same detectors: a bucket is closed on exactly the events that were received until `GRACE_SECONDS` after its end,
whenever that is computed. So late events shape what later buckets are compared with, from their receipt on, and a
replay of the same events gives the same verdicts. Reads: `events`. State: the detectors; a new run (`begin`) reads
eight days.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from online_models.anomaly_rules import Rules
from stream_processors.insights.anomaly_runner import AnomalyRunner
from stream_processors.ports import WarehousePort
from stream_processors.sql import Roles, moment
from stream_processors.watch.series import COUNTS, HISTORY_SECONDS, KINDS, REVENUE, measure_condition

RECORD: Final = "anomalies"
"""Name in `rounds`; the tenant there is empty, for the round is about all of them."""

GRACE_SECONDS: Final = 30
VERSION_AHEAD_MS: Final = 3_600_000
"""The settled row stands above what was announced of its bucket, which is said within a quarter of an hour."""

Row = dict[str, Any]


class AnomalyRecord:
    """All series of all tenants. Slots are buckets numbered from 1970, each closed when its `cutoff` has passed."""

    def __init__(self, warehouse: WarehousePort, packs: Iterable[Roles]) -> None:
        self._warehouse, self._rules = warehouse, Rules()
        self._columns = _columns(list(packs))
        self._seconds = 60 * self._rules.bucket_minutes
        self._runner = AnomalyRunner(KINDS, self._rules, grace_seconds=GRACE_SECONDS, fill_seconds=0.0, peeks=False)
        self.since = self.next = 0

    def slot_of(self, received: float) -> int:
        """The slot whose cutoff is the first after a moment of receipt (Unix seconds)."""
        return int((received - GRACE_SECONDS) // self._seconds)

    def slot_ended(self, end: float) -> int:
        """The slot that ended at a moment (Unix seconds)."""
        return int(end // self._seconds) - 1

    def cutoff(self, slot: int) -> float:
        """Unix seconds before which an event must be received to count for the slot."""
        return float((slot + 1) * self._seconds + GRACE_SECONDS)

    def begin(self, slot: int) -> None:
        """Start a run with this slot, from what was received before it. Raises `Retryable`."""
        self._runner = AnomalyRunner(KINDS, self._rules, grace_seconds=GRACE_SECONDS, fill_seconds=0.0, peeks=False)
        self.since = self.next = slot
        before = self.cutoff(slot - 1)
        for _, point in self._points(0.0, before, before - HISTORY_SECONDS):
            self._runner.add(*point)
        self._runner.evaluate(before)

    def advance(self, end: int) -> Iterator[tuple[int, list[Row]]]:
        """Close the slots from `next` to before `end`: each with its rows of `anomalies`. Raises `Retryable`.

        A slot counts as closed when the caller comes back for the next one, or for the end.
        """
        if self.next >= end:
            return
        first, last = self.cutoff(self.next - 1), self.cutoff(end - 1)
        waiting = list(self._points(first, last, first - HISTORY_SECONDS))
        position = 0
        for slot in range(self.next, end):
            while position < len(waiting) and waiting[position][0] <= slot:
                self._runner.add(*waiting[position][1])
                position += 1
            found = self._runner.evaluate(self.cutoff(slot))
            self.next = slot + 1
            yield slot, [self._settled(row, slot) for row in found.rows]

    def _settled(self, row: Row, slot: int) -> Row:
        return {**row, "settled": True, "version": round(self.cutoff(slot) * 1000) + VERSION_AHEAD_MS}

    def _points(
        self, first: float, last: float, oldest: float
    ) -> Iterator[tuple[int, tuple[str, str, str, float, float]]]:
        """What events received in [first, last) add: (slot, (tenant, metric, dimension, minute, value)), in order."""
        rows = self._warehouse.query(
            f"SELECT slot, tenant, at, {self._columns} FROM ("
            "SELECT tenant, event_type, if(is_holdout, 'holdout', subtype) AS subtype, amount_micros,"
            " intDiv(toUnixTimestamp(timestamp), 60) * 60 AS at, intDiv(toUnixTimestamp64Milli(received_at)"
            f" - {GRACE_SECONDS * 1000}, {self._seconds * 1000}) AS slot FROM events FINAL WHERE tenant != ''"
            f" AND received_at >= {moment(first)} AND received_at < {moment(last)} AND timestamp >= {moment(oldest)}"
            ") GROUP BY slot, tenant, at ORDER BY slot, tenant, at"
        )
        for row in rows:
            slot, place = int(row["slot"]), (row["tenant"], float(row["at"]))
            for metric in COUNTS.values():
                if row[metric]:
                    yield slot, (place[0], metric, "", place[1], float(row[metric]))
            if row["amount"]:
                yield slot, (place[0], REVENUE, "", place[1], int(row["amount"]) / 1_000_000)


def round_row(record: AnomalyRecord, slot: int) -> Mapping[str, Any]:
    """The row of `rounds` that says that a slot is closed."""
    at = record.cutoff(slot)
    ends = {"as_of": at - GRACE_SECONDS, "since": record.cutoff(record.since) - GRACE_SECONDS}
    return {"tenant": "", "model": RECORD, **ends, "known_by": at, "version": round(at * 1000)}


def _columns(packs: list[Roles]) -> str:
    counts = [f"countIf({measure_condition(packs, measure)}) AS {metric}" for measure, metric in COUNTS.items()]
    return ", ".join([*counts, f"sumIf(amount_micros, {measure_condition(packs, 'purchase')}) AS amount"])
