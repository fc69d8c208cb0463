"""Hours of steady traffic through every process: memory stays, the ledger is even to the last event, all is fresh."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.e2e.doors import eventually
from tests.faults.oracle import Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.soak import LOOK_SECONDS, Watch, floor, growth_percent_an_hour, percentile
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]

MOST_GROWTH = 1.0
"""Percent an hour of the memory of any process of ours, after the first quarter of the time (half an hour of two)."""
HALF_HOUR = 1800.0
REST_SECONDS = 45.0
"""Memory is looked at for so long when all is stored and nobody sends: what is held then is not work under way."""
NEVER = 1e6
"""Seconds behind, as long as some partition has no event yet."""


@pytest.mark.sizes(short=Size(rate=200, seconds=12), full=Size(rate=500, seconds=7200))
def test_soak(size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]) -> None:
    """`seconds` of traffic. The growth of memory is judged where it was looked at for an hour at least: that of its
    floor, the least of each five minutes.

    Kafka's is written down only: a JVM takes its heap up to the limit it was given before it looks for what is garbage.
    """
    traffic, events = Traffic(seed=1001, rate=size.rate, users=5_000), int(size.rate * size.seconds)
    settled = min(HALF_HOUR, size.seconds / 4)
    # What a worker keeps of recent ids comes and goes in half a minute. With longer turns those of all partitions begin
    # together and part over an hour, which raises the least of their sum. The day's churn round is over in the first.
    soon = {"WORKER_RECENT_IDS": "4000", "WATCHER_CHURN_SECONDS": "15"}
    with Pipeline(tmp_path, faults_kind, plants=plants, watcher=True, api=True, **soon) as pipeline:
        with pipeline.client(traffic, events) as client, Watch(pipeline, 5.0 if size.full else 1.0) as watch:
            answers = client.join()
        pipeline.wait_drained()
        with Watch(pipeline, 5.0) as rest:
            time.sleep(REST_SECONDS if size.full else 1.0)
        found = Oracle(pipeline.warehouse).check(traffic, answers)
        ledger = eventually(lambda: _difference(pipeline), lambda difference: difference == 0, within=120)
        for name in pipeline.processes:
            pipeline.processes[name].check()
    growth = watch.growth(settled)
    assert {*pipeline.processes} <= growth.keys(), "a process was not looked at"
    if size.seconds - settled >= 2 * HALF_HOUR:
        assert max(growth[name] for name in pipeline.processes) < MOST_GROWTH, growth
    behind = [seconds for at, seconds in watch.behind if at >= settled and seconds < NEVER]
    record(
        growth_percent_an_hour=growth,
        memory_mib={name: int(series[-1][1]) >> 20 for name, series in watch.memory.items()},
        at_rest_mib={name: round(min(held for _, held in series) / 2**20, 1) for name, series in rest.memory.items()},
        ledger_difference=ledger,
        behind_seconds={f"p{share}": round(percentile(behind, share / 100), 2) for share in (50, 95, 99)},
        most_lag=int(max(lag for _, lag in watch.lag)),
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
    )


def test_a_leak_shows_in_the_slope_and_a_peak_does_not() -> None:
    """1 % an hour is found among noise of 5 % and one peak of the double."""
    level = [(float(at), 100.0 + at % 7 * 0.8 + (100.0 if at == 3000 else 0.0)) for at in range(0, 5400, 5)]
    assert abs(growth_percent_an_hour(level)) < 0.2
    leak = [(at, value * (1 + 0.02 * at / 3600)) for at, value in level]
    assert 1.5 < growth_percent_an_hour(leak) < 2.5


def test_a_leak_shows_under_work_that_comes_and_goes() -> None:
    """Work that takes a tenth and gives it back is not in the floor, 2 % an hour of leak is."""
    chance = random.Random(7)
    busy = [(float(at), 100.0 + chance.uniform(0.0, 25.0) * (chance.random() < 0.9)) for at in range(1800, 7200, 5)]
    assert len(floor(busy)) == 18
    assert abs(growth_percent_an_hour(floor(busy))) < 0.2
    leak = [(at, value + 2.0 * at / 3600) for at, value in busy]
    assert 1.5 < growth_percent_an_hour(floor(leak)) < 2.5
    assert floor(busy[:50]) == busy[:50], "too short for a floor"


def test_memory_is_looked_at_often_and_servers_are_asked_seldom() -> None:
    """A server that does not answer costs no look at memory, and a process that has ended none at the others."""

    def away() -> int:
        raise ConnectionError

    here = SimpleNamespace(pid=os.getpid(), alive=True)
    gone = SimpleNamespace(pid=2**22 + 1, alive=False)
    broker = SimpleNamespace(cluster=SimpleNamespace(nodes=[SimpleNamespace(pid=os.getpid(), number=1)]))
    pipeline = SimpleNamespace(processes={"worker": here, "api": gone}, broker=broker, behind=lambda: 2.0, lag=away)
    with Watch(cast(Pipeline, pipeline), every=4 * LOOK_SECONDS) as watch:
        eventually(lambda: watch.failures, lambda failures: failures >= 2, within=60)
    assert watch.memory.keys() == {"worker", "kafka-1"}
    assert len(watch.memory["worker"]) > len(watch.behind), "looks between two times that servers are asked"
    assert all(1 << 20 < held < 1 << 40 for _, held in watch.memory["worker"])
    assert [seconds for _, seconds in watch.behind][:2] == [2.0, 2.0]
    assert watch.lag == []


def _difference(pipeline: Pipeline) -> int:
    """accepted - stored - duplicates, and received - accepted - rejected, of all, as the API tells them."""
    book = pipeline.ask_api("pipeline", start="-1d")
    rejected = sum(book["rejected"].values())
    rest = book["accepted"] - book["stored"] - book["duplicates"]
    return abs(book["received"] - book["accepted"] - rejected) + abs(rest)
