"""kill -9 of the collector again and again: what a client saw acknowledged is stored, whatever it had to send twice."""

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


@pytest.mark.sizes(short=Size(events=2_500, rate=800, times=2), full=Size(events=400_000, rate=2_000, times=20))
def test_collector_killed_again_and_again(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    traffic, chance = Traffic(seed=102, rate=size.rate), random.Random(102)
    with Pipeline(tmp_path, faults_kind, plants=plants) as pipeline:
        with pipeline.client(traffic, size.events, batch=40, threads=4) as client:
            for number in range(size.times):
                client.wait_for((number + 0.5) / size.times * 0.9)
                time.sleep(chance.random() * 0.05)
                pipeline.kill("collector-1")
                pipeline.start("collector-1", ready=False)
        answers = client.join()
        pipeline.wait_drained()
        found = Oracle(pipeline.warehouse).check(traffic, answers)
    cut = sum(n for outcome, n in answers.statuses.items() if not outcome.isdigit())
    assert cut, "no request was cut off: the kills hit nothing"
    record(
        kills=size.times,
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
        requests_without_answer=cut,
        longest_pause_seconds=round(answers.gone, 1),
    )
