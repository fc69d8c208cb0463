"""The settled record of anomalies again: the same buckets, in the same runs, out of the replay's events.

Reads: `rounds` of the live database (which buckets each run closed), the events of the replay's. Writes: `anomalies` of
the replay's database. Without recorded rounds one run goes from the first event to now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson

from deploy.replay.request import Span
from sinks.warehouse import Warehouse
from stream_processors.insights.anomaly_record import RECORD, AnomalyRecord
from stream_processors.sql import Roles

SLOTS_AT_ONCE = 288
Run = tuple[int, int]
"""First slot, and the one after the last."""


class AnomalyReplay:
    """One replay; `run` blocks."""

    def __init__(self, live: Warehouse, shadow: Warehouse, roles: Mapping[str, Roles]) -> None:
        self._live, self._shadow = live, shadow
        self._record = AnomalyRecord(shadow, roles.values())

    def run(self, span: Span, now: float, tell: Callable[[int, int], None]) -> None:
        """Judge every bucket up to the span's end; `now` (Unix seconds) ends a run that nobody recorded."""
        runs = self._runs(now)
        last = self._record.slot_ended(span.end) + 2
        total, done = sum(end - first for first, end in runs), 0
        for first, end in runs:
            self._record.begin(first)
            for start in range(first, min(end, last), SLOTS_AT_ONCE):
                for _, rows in self._record.advance(min(start + SLOTS_AT_ONCE, end, last)):
                    self._shadow.insert_lines("anomalies", b"".join(orjson.dumps(row) + b"\n" for row in rows))
                    done += 1
                tell(done, total)

    def _runs(self, now: float) -> list[Run]:
        rows = self._live.query(
            "SELECT toFloat64(since) AS first, max(toFloat64(as_of)) AS last FROM rounds FINAL"
            f" WHERE tenant = '' AND model = '{RECORD}' GROUP BY first ORDER BY first"
        )
        if rows:
            ended = self._record.slot_ended
            return [(ended(float(row["first"])), ended(float(row["last"])) + 1) for row in rows]
        first = self._shadow.query("SELECT count() AS n, toFloat64(min(received_at)) AS at FROM events")[0]
        if not int(first["n"]):
            return []
        return [(self._record.slot_of(float(first["at"])), self._record.slot_of(now))]
