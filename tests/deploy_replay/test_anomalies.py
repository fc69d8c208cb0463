"""The settled record of anomalies is a function of the events: a replay gives it again, whatever came late."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from deploy.settings import Settings
from schemas.clock import ManualClock
from sinks.warehouse import Warehouse
from stream_processors.insights.anomaly_record import AnomalyRecord
from stream_processors.metrics import WorkerMetrics
from stream_processors.watch.anomaly_watch import AnomalyWatch
from tests.deploy_replay.support import ROLES, run_replay

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("replay")]

SLOT = 300
NOW = int(time.time()) // SLOT * SLOT - 86_400
DAYS = 9
HISTORY = f"""
INSERT INTO events (tenant, event_id, event_type, timestamp, received_at, user_id, slot, pack)
SELECT 't', concat('h', toString(number)), 'campaign_clicked',
    toDateTime64({NOW} - {DAYS} * 86400 + number * 15, 3, 'UTC') AS at,
    at + if(number % 50 = 7, 40000, 1), 'u', 1, 'marketing' FROM numbers({DAYS * 5760})
"""


def _events() -> Iterator[dict[str, Any]]:
    """Two hours: usual clicks, a spike in bucket 6, nothing in the buckets 12 to 17; some are known an hour later."""
    for number in range(24 * 20):
        bucket, at = number // 20, NOW + number * 15
        if 12 <= bucket < 18:
            continue
        for copy in range(15 if bucket == 6 else 1):
            late = 3_000 if number % 7 == 3 else 1
            yield {
                **{"tenant": "t", "event_id": f"{number}-{copy}", "event_type": "campaign_clicked", "user_id": "u"},
                **{"timestamp": at, "received_at": at + late, "slot": 1, "pack": "marketing"},
            }


class Live:
    """The watch over events that are stored when they are received."""

    def __init__(self, settings: Settings) -> None:
        self.warehouse, self.clock = Warehouse(settings.warehouse), ManualClock(float(NOW - 2 * SLOT))
        self._events = sorted(_events(), key=lambda one: one["received_at"])
        self.warehouse.command(HISTORY)
        self.watch = self.start()

    def start(self) -> AnomalyWatch:
        return AnomalyWatch(ROLES, self.warehouse, self.clock, WorkerMetrics("watch"), lambda: self.clock.now() - 5)

    def run(self, seconds: int, step: float) -> None:
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.clock.advance(step)
            due = [one for one in self._events if one["received_at"] < self.clock.now()]
            self._events = self._events[len(due) :]
            self.warehouse.insert_lines("events", b"".join(orjson.dumps(one) + b"\n" for one in due))
            self.watch.look()


def test_the_record_of_anomalies_is_identical(settings: Settings) -> None:
    live = Live(settings)
    told = {"tenant": "t", "anomaly_id": "early", "metric_id": "x", "bucket": NOW, "type": "spike", "version": 1}
    live.warehouse.insert_lines("anomalies", orjson.dumps(told) + b"\n")
    live.run(15 * SLOT, 400)
    live.watch = live.start()
    live.run(11 * SLOT, 250)
    summary = run_replay(settings, what=("anomalies",))
    assert summary["same"], summary
    rows = live.warehouse.query(
        "SELECT type, metric_id, intDiv(toUnixTimestamp(bucket) - {now:Int64}, 300) AS number FROM anomalies FINAL"
        " WHERE settled",
        {"now": NOW},
    )
    found = {(row["type"], row["metric_id"], int(row["number"])) for row in rows}
    assert ("spike", "clicks", 6) in found and {kind for kind, _, _ in found} >= {"spike", "zero_value"}
    assert summary["tables"]["anomalies"]["rows"] == len(rows) > 4, "what was only announced is no part of it"
    runs = live.warehouse.query("SELECT count(DISTINCT since) AS runs, count() AS n FROM rounds FINAL")[0]
    assert runs["runs"] == 2 and runs["n"] > 20


def test_a_bucket_is_judged_by_what_was_received_in_time(settings: Settings) -> None:
    live = Live(settings)
    record = AnomalyRecord(live.warehouse, ROLES.values())
    slot = record.slot_ended(NOW) + 1
    assert record.cutoff(slot) == NOW + SLOT + 30 and record.slot_of(record.cutoff(slot)) == slot + 1
    assert record.slot_of(record.cutoff(slot) - 0.001) == slot
    late = [
        {"tenant": "t", "event_id": f"l{n}", "event_type": "campaign_clicked", "timestamp": NOW + n, "user_id": "u"}
        | {"received_at": NOW + SLOT + 31, "slot": 1, "pack": "marketing"}
        for n in range(250)
    ]
    live.warehouse.insert_lines("events", b"".join(orjson.dumps(one) + b"\n" for one in late))
    record.begin(slot)
    (closed,) = record.advance(slot + 1)
    assert {row["type"] for row in closed[1]} == {"zero_value", "drop"} & {row["type"] for row in closed[1]}
    assert not any(row["type"] == "spike" for row in closed[1])
