"""kill -9 of the worker again and again while events pour in, also between the insert and its acknowledgement."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.client import Answers, merge
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
    """Each kill has its own share of the events, so that it always comes in the middle of work."""
    traffic, chance = Traffic(seed=101, rate=size.rate), random.Random(101)
    recoveries: list[float] = []
    answers = Answers()
    exact = 0
    take = "200" if size.full else "20"  # few events make more than a few batches only when these are small
    with Pipeline(tmp_path, faults_kind, plants=plants, WORKER_TAKE_CHUNKS=take) as pipeline:
        share = size.events // size.times
        for number in range(size.times):
            with pipeline.client(traffic, share, first=number * share) as client:
                client.wait_for(0.3)
                exactly = number % BETWEEN == 1 or number == size.times - 1
                died, reached = _kill(pipeline, chance, plants.get("worker", ""), exactly)
                exact += reached
                pipeline.start("worker-1", ready=False)
                recoveries.append(pipeline.recovery_seconds(died, client))
            answers = merge(answers, client.join())
        pipeline.wait_drained()
        found = Oracle(pipeline.warehouse).check(traffic, answers)
    assert exact, "no kill hit the place between insert and acknowledgement"
    record(
        kills=size.times,
        between_insert_and_acknowledgement=exact,
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
        lag_recovery_seconds=round(max(recoveries), 1),
    )
    assert not size.full or max(recoveries) < MOST_RECOVERY_SECONDS, recoveries


def _kill(pipeline: Pipeline, chance: random.Random, plant: str, exactly: bool) -> tuple[float, bool]:
    """Kill the worker, anywhere or at an exact place; when (Unix seconds) it was gone, and whether at such a place."""
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
    return time.time(), reached
