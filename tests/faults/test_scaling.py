"""Workers come and go politely: rolling SIGTERM, and two that become four and two again."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.oracle import Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]

MOST_EXIT_SECONDS = {True: 15.0, False: 60.0}
"""In full size; and in short ones, that run beside everything else."""
MOST_REDELIVERED = 1.0
"""Percent of the chunks that reach a handler a second time."""


@pytest.mark.sizes(short=Size(events=2_000, rate=500, times=1), full=Size(events=300_000, rate=1_500, times=20))
def test_rolling_sigterm(size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]) -> None:
    traffic = Traffic(seed=104, rate=size.rate)
    exits: list[float] = []
    with Pipeline(tmp_path, faults_kind, workers=2, plants=plants) as pipeline:
        with pipeline.client(traffic, size.events) as client:
            names = itertools.cycle(pipeline.workers)
            for number in range(size.times):
                client.wait_for((number + 0.3) / size.times * 0.9)
                name = next(names)
                exits.append(pipeline.term(name))
                pipeline.start(name)
        answers = client.join()
        pipeline.wait_drained()
        found = Oracle(pipeline.warehouse).check(traffic, answers)
    assert max(exits) < MOST_EXIT_SECONDS[size.full], exits
    record(
        terms=size.times,
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
        exit_seconds=round(max(exits), 1),
    )


@pytest.mark.sizes(
    short=Size(events=3_000, rate=500, times=1, seconds=2), full=Size(events=600_000, rate=1_000, times=20, seconds=15)
)
def test_two_workers_become_four_and_two_again(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    """`times` changes of size, `seconds` apart, each way one."""
    traffic, trace = Traffic(seed=105, rate=size.rate), tmp_path / "trace"
    planted = ",".join(filter(None, (f"trace={trace}", plants.get("worker", ""))))
    with Pipeline(tmp_path, faults_kind, workers=2, plants={**plants, "worker": planted}) as pipeline:
        with pipeline.client(traffic, size.events) as client:
            for _ in range(size.times):
                began = time.monotonic()
                more = [pipeline.add_worker(planted) for _ in range(2)]
                for name in more:
                    pipeline.wait_ready(name)
                time.sleep(max(1.0, size.seconds - (time.monotonic() - began)))
                for name in more:
                    pipeline.term(name)
                time.sleep(size.seconds if client.sending else 0.0)
        answers = client.join()
        pipeline.wait_drained()
        found = Oracle(pipeline.warehouse).check(traffic, answers)
    delivered, again = redelivered(trace)
    percent = 100 * again / delivered
    assert not size.full or percent <= MOST_REDELIVERED, f"{again} of {delivered} chunks came again"
    record(
        changes=2 * size.times,
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
        chunks=delivered,
        redelivered_percent=round(percent, 2),
    )


def redelivered(trace: Path) -> tuple[int, int]:
    """Different chunks that reached a handler, and how often one came again."""
    seen = Counter(trace.read_text().splitlines())
    return len(seen), sum(seen.values()) - len(seen)
