"""Kafka killed in the middle of the work, all of it or the leader of three: nothing lost, nothing counted twice."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from deploy.embedded import warehouse
from deploy.embedded.process import ServerHandle
from schemas.topics import EVENTS
from sinks.warehouse import Warehouse
from stream_processors.ports import Record
from tests.integration.servers import (
    PATIENCE,
    Stored,
    WorkerProcess,
    prepare,
    produce,
    settled,
    wait_for_rows,
    wait_until_read,
)
from tests.integration.traffic import chunks, lines, records, truth
from tests.kafka_servers import KafkaServer, leader, need, open_kafka

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("apache")]

COUNT = 30_000
SEED = 20_261_122


@pytest.fixture(params=["apache", "apache3"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KafkaServer]:
    need(request.param, request.config)
    running = open_kafka(request.param, tmp_path)
    yield running
    running.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[ServerHandle]:
    handle = warehouse.start_process(tmp_path / "warehouse")
    yield handle
    handle.stop()


def _kill_leader(server: KafkaServer, partition: int) -> int:
    """Kill the node that leads a partition of the events, all there is when it is alone; its number."""
    assert server.cluster is not None
    number = leader(server.url, EVENTS, partition)
    server.cluster.node(number).kill()
    return number


def test_kafka_dies_again_and_again_while_producers_and_workers_go_on(
    server: KafkaServer, house: ServerHandle, tmp_path: Path
) -> None:
    rng = random.Random(SEED)
    made = chunks(lines(COUNT, rng), rng, most=60)
    wanted = truth(made)
    settings = prepare(server, house, tmp_path, WORKER_TAKE_CHUNKS="4", WORKER_GROUP="survivors")
    stored = Stored(Warehouse(settings.warehouse))
    worker = WorkerProcess(settings, tmp_path)
    producing = Thread(target=_produce_slowly, args=(server.url, records(made)))
    assert server.cluster is not None
    try:
        worker.start()
        producing.start()
        for share in (0.1, 0.4, 0.7):
            wait_for_rows(stored, int(share * COUNT), worker)
            number = _kill_leader(server, rng.randrange(4))
            if server.replication > 1:
                wait_for_rows(stored, stored.count() + 2000, worker)  # the others go on without it
            server.cluster.node(number).start()
        producing.join(PATIENCE)
        assert not producing.is_alive()
        wait_until_read(settings, [worker])
        missing = settled(stored, wanted)
        assert worker.stop() == 0
    finally:
        producing.join(PATIENCE)
        worker.end()
    assert not missing


def _produce_slowly(url: str, some: list[Record]) -> None:
    for start in range(0, len(some), 50):
        produce(url, EVENTS, some[start : start + 50])
        time.sleep(0.05)
