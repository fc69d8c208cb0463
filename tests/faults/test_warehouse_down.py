"""ClickHouse away for minutes, and killed in the middle of inserts: offsets held, memory flat, every rollup exact."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from schemas.topics import EVENTS
from tests.e2e.doors import eventually
from tests.faults.client import Client
from tests.faults.oracle import Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.traffic import Traffic
from tests.integration.servers import committed

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]

MIB = 1 << 20
MOST_GROWTH = 512 * MIB
DRAIN_SECONDS = 600.0


@pytest.mark.sizes(short=Size(events=6_600, rate=600, seconds=10), full=Size(events=720_000, rate=1_000, seconds=600))
def test_warehouse_away(size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]) -> None:
    traffic = Traffic(seed=201, rate=size.rate)
    with Pipeline(tmp_path, faults_kind, plants=plants) as pipeline:
        with pipeline.client(traffic, size.events) as client:
            client.wait_for(0.1)
            pipeline.kill("warehouse")
            grown = _endure(pipeline, size.seconds)
            back = time.time()
            pipeline.start("warehouse")
            drained = pipeline.recovery_seconds(back, client, within=DRAIN_SECONDS)
        answers = client.join()
        pipeline.wait_drained(DRAIN_SECONDS)
        found = Oracle(pipeline.warehouse).check(traffic, answers)
    assert grown < MOST_GROWTH, f"the worker grew by {grown // MIB} MiB while the warehouse was away"
    record(
        away_seconds=size.seconds,
        worker_grew_mib=grown // MIB,
        drained_seconds=round(drained, 1),
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
    )


def _endure(pipeline: Pipeline, seconds: float) -> int:
    """Let the time pass, as a supervisor of the worker; by how many bytes its memory grew. No offset may move."""
    began, before, most = time.monotonic(), pipeline.rss("worker-1"), 0
    time.sleep(1.0)  # what was stored just before is acknowledged within this
    held = _offsets(pipeline)
    while time.monotonic() - began < seconds:
        if not pipeline.alive("worker-1"):
            pipeline.start("worker-1", ready=False)
        most = max(most, pipeline.rss("worker-1"))
        time.sleep(0.2)
    assert _offsets(pipeline) == held, "offsets moved while nothing could be stored"
    return max(0, most - before)


def _offsets(pipeline: Pipeline) -> list[int]:
    kafka = pipeline.settings.kafka
    return committed(kafka.bootstrap, pipeline.group, EVENTS, kafka.partitions)


@pytest.mark.sizes(short=Size(events=4_000, rate=800, times=2), full=Size(events=600_000, rate=3_000, times=20))
def test_warehouse_killed_during_inserts(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    traffic, chance = Traffic(seed=202, rate=size.rate), random.Random(202)
    pauses: list[float] = []
    with Pipeline(tmp_path, faults_kind, plants=plants) as pipeline:
        with pipeline.client(traffic, size.events) as client:
            for number in range(size.times):
                client.wait_for((number + 0.5) / size.times * 0.8)
                _kill_in_an_insert(pipeline, client, chance)
                died = time.time()
                pipeline.start("warehouse")
                pauses.append(pipeline.recovery_seconds(died, client))
        answers = client.join()
        pipeline.wait_drained()
        found = Oracle(pipeline.warehouse).check(traffic, answers)
    record(
        kills=size.times,
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
        lag_recovery_seconds=round(max(pauses), 1),
    )


def _kill_in_an_insert(pipeline: Pipeline, client: Client, chance: random.Random) -> None:
    """Just after new rows came, so that their other tables and the next insert are on the way."""
    if client.sending:
        rows = pipeline.rows()
        eventually(pipeline.rows, lambda now: now > rows, within=30, every=0.002)
        time.sleep(chance.choice((0.0, 0.002, 0.01, 0.05)))
    pipeline.kill("warehouse")
