"""kill -9 of the worker again and again while events pour in, also between the insert and its acknowledgement."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.oracle import Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]

BETWEEN = 3
"""Every so many kills, and at the last, the worker kills itself between an insert and its acknowledgement."""
MOST_RECOVERY_SECONDS = 30.0
"""From the kill until the lag is normal again; in full size."""
EXACT_SECONDS = 120.0
"""After which it is killed from outside, when there was nothing left to insert."""
PLACES = ("die_after_insert", "die_before_ledger")


@pytest.mark.sizes(short=Size(events=4_000, rate=600, times=2), full=Size(events=1_000_000, rate=4_000, times=20))
def test_worker_killed_again_and_again(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    traffic, chance = Traffic(seed=101, rate=size.rate), random.Random(101)
    recoveries: list[float] = []
    take = "200" if size.full else "20"  # few events make more than a few batches only when these are small
    with Pipeline(tmp_path, faults_kind, plants=plants, WORKER_TAKE_CHUNKS=take) as pipeline:
        with pipeline.client(traffic, size.events) as client:
            for number in range(size.times):
                client.wait_for((number + 0.5) / size.times * 0.8)
                exactly = number % BETWEEN == 1 or number == size.times - 1
                died = _kill(pipeline, chance, plants.get("worker", ""), exactly)
                pipeline.start("worker-1", ready=False)
                recoveries.append(pipeline.recovery_seconds(died, client))
        answers = client.join()
        pipeline.wait_drained()
        found = Oracle(pipeline.warehouse).check(traffic, answers)
    record(
        kills=size.times,
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
        lag_recovery_seconds=round(max(recoveries), 1),
    )
    assert not size.full or max(recoveries) < MOST_RECOVERY_SECONDS, recoveries


def _kill(pipeline: Pipeline, chance: random.Random, plant: str, exactly: bool) -> float:
    """Kill the worker, anywhere or at an exact place; when (Unix seconds) it was gone."""
    if exactly:
        pipeline.kill("worker-1")
        place = f"{chance.choice(PLACES)}={chance.randrange(1, 3)}"
        pipeline.replant("worker-1", ",".join(filter(None, (plant, place))))
        pipeline.start("worker-1", ready=False)
        reached = pipeline.processes["worker-1"].wait_gone(EXACT_SECONDS)
        pipeline.replant("worker-1", plant)
    else:
        time.sleep(chance.random() * 0.3)
        reached = False
    if not reached:
        pipeline.kill("worker-1")
    return time.time()
