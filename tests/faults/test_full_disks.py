"""Full disks: of ClickHouse, of Kafka, of the spool. Space comes back, and nobody repairs anything by hand."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.doors import eventually
from tests.faults.disks import Disk, small_disk
from tests.faults.oracle import Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]

DRAIN_SECONDS = 300.0


@pytest.mark.sizes(
    short=Size(events=4_000, rate=600, seconds=3), full=Size(events=200_000, rate=1_000, times=3, seconds=30)
)
def test_disk_full_for_the_warehouse(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    traffic = Traffic(seed=301, rate=size.rate)
    with (
        small_disk(tmp_path / "disk", 400 if size.full else 160) as disk,
        Pipeline(tmp_path, faults_kind, plants=plants, warehouse_data=disk.path / "warehouse") as pipeline,
    ):
        restarts = 0
        with pipeline.client(traffic, size.events) as client:
            for number in range(size.times):
                client.wait_for((number + 0.2) / size.times)
                restarts += _without_space(pipeline, disk, size.seconds)
        answers = client.join()
        drained = pipeline.wait_drained(DRAIN_SECONDS, supervise=True)
        found = Oracle(pipeline.warehouse).check(traffic, answers)
        assert "243" in pipeline.log_text("worker-1"), "the disk was never full for the warehouse"
    record(
        full_seconds=size.seconds,
        times=size.times,
        restarts=restarts,
        drained_seconds=round(drained, 1),
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
    )


def _without_space(pipeline: Pipeline, disk: Disk, seconds: float) -> int:
    """Full for so long, whatever merges and log files give back; how many processes a supervisor had to start."""
    deadline, restarts = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        disk.fill()
        restarts += len(pipeline.restart_dead())
        time.sleep(0.05)
    disk.give_back()
    return restarts


@pytest.mark.durable
@pytest.mark.sizes(
    short=Size(events=4_000, rate=500, seconds=2), full=Size(events=200_000, rate=1_000, times=3, seconds=30)
)
def test_disk_full_for_kafka(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    traffic = Traffic(seed=302, rate=size.rate)
    with (
        small_disk(tmp_path / "kafka", 800 if size.full else 200) as disk,
        Pipeline(tmp_path, faults_kind, plants=plants) as pipeline,
    ):
        ends = 0
        with pipeline.client(traffic, size.events, timeout=6.0) as client:
            for number in range(size.times):
                client.wait_for((number + 0.2) / size.times)
                ends += _supervise_broker(pipeline, disk, size.seconds)
                disk.give_back()
                _bring_back(pipeline)
        answers = client.join()
        drained = pipeline.wait_drained(DRAIN_SECONDS, supervise=True)
        found = Oracle(pipeline.warehouse).check(traffic, answers)
    assert ends, "the disk was never full for Kafka"
    record(
        full_seconds=size.seconds,
        times=size.times,
        broker_ended=ends,
        drained_seconds=round(drained, 1),
        without_answer_seconds=round(answers.gone, 1),
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
    )


@pytest.mark.durable
@pytest.mark.sizes(
    short=Size(events=6_000, rate=600, seconds=2), full=Size(events=200_000, rate=1_000, times=3, seconds=30)
)
def test_disk_full_for_the_spool(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    """Kafka is away, and the disk that stands in for it fills up: clients are refused, and nothing else happens."""
    traffic = Traffic(seed=303, rate=size.rate)
    spool = {"COLLECTOR_SPOOL_DIR": str(tmp_path / "spool"), "COLLECTOR_GATEWAY_AWAY_SECONDS": "1"}
    spooled = 0
    with (
        small_disk(tmp_path / "spool", 64) as disk,
        Pipeline(tmp_path, faults_kind, plants=plants, WORKER_STALL_SECONDS="30", **spool) as pipeline,
    ):
        with pipeline.client(traffic, size.events) as client:
            for number in range(size.times):
                client.wait_for((number + 0.2) / size.times)
                pipeline.broker.kill()  # at once, so that the client is still sending when the disk is full
                spooled += eventually(lambda: _spooled(disk), lambda found: found > 10_000, within=60)
                _without_space(pipeline, disk, size.seconds)
                refused = client.answers.statuses["503"]
                pipeline.broker.start()
        answers = client.join()
        drained = pipeline.wait_drained(DRAIN_SECONDS, supervise=True)
        found = Oracle(pipeline.warehouse).check(traffic, answers)
        eventually(lambda: _spooled(disk), lambda left: left < 10_000, within=60)
    assert refused, "the disk was never full for the spool"
    record(
        full_seconds=size.seconds,
        times=size.times,
        refused_requests=answers.statuses["503"],
        spooled_bytes=spooled,
        drained_seconds=round(drained, 1),
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
    )


def _spooled(disk: Disk) -> int:
    """Bytes of the spool's files."""
    return sum(file.stat().st_size for file in disk.path.rglob("*") if file.is_file() and file.name != "filler")


def _supervise_broker(pipeline: Pipeline, disk: Disk, seconds: float) -> int:
    """Start whatever ends, as a supervisor does, for so long and until it hit Kafka; how often that ended."""
    assert pipeline.broker.cluster is not None
    node, ends, began = pipeline.broker.cluster.node(1), 0, time.monotonic()
    while time.monotonic() - began < (seconds if ends else max(60.0, seconds)):
        disk.fill()
        if not node.running:
            ends += 1
            node.launch()
        pipeline.restart_dead()
        time.sleep(0.2)
    return ends


def _bring_back(pipeline: Pipeline) -> None:
    assert pipeline.broker.cluster is not None
    node = pipeline.broker.cluster.node(1)
    if not node.running:
        node.launch()
    node.wait()
