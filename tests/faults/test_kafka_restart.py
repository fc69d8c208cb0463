"""Kafka goes and comes back with its data, by SIGTERM and once by kill -9, under clients and workers that go on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.oracle import Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]


@pytest.mark.durable
@pytest.mark.sizes(short=Size(events=2_500, rate=500, times=1), full=Size(events=400_000, rate=2_000, times=5))
def test_kafka_restarted(size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]) -> None:
    """The last of the restarts is a kill -9. A worker that gets stuck ends by its watchdog, and is started."""
    traffic = Traffic(seed=106, rate=size.rate)
    recoveries: list[float] = []
    with Pipeline(tmp_path, faults_kind, workers=2, plants=plants, WORKER_STALL_SECONDS="30") as pipeline:
        with pipeline.client(traffic, size.events) as client:
            for number in range(size.times):
                client.wait_for((number + 0.3) / size.times * 0.8)
                if number == size.times - 1:
                    pipeline.broker.kill()
                else:
                    pipeline.broker.stop()
                pipeline.broker.start()
                recoveries.append(pipeline.recovery_seconds(time.time(), client, supervise=True))
        answers = client.join()
        pipeline.wait_drained(supervise=True)
        found = Oracle(pipeline.warehouse).check(traffic, answers)
    record(
        restarts=size.times,
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
        lag_recovery_seconds=round(max(recoveries), 1),
        longest_pause_seconds=round(answers.gone, 1),
    )
