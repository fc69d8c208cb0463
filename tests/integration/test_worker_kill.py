"""Workers and warehouse killed in the middle of the work: nothing lost, nothing counted twice, in no table."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded import warehouse
from deploy.parts import group_of
from deploy.settings import Settings
from schemas.clock import ManualClock
from schemas.topics import EVENTS
from sinks.warehouse import Warehouse
from tests.integration.servers import (
    Stored,
    WorkerProcess,
    committed,
    prepare,
    produce,
    settled,
    wait_for_rows,
    wait_until_read,
)
from tests.integration.traffic import Chunks, chunks, lines, records, truth
from tests.kafka_servers import KafkaServer
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.workers import make_worker, run, settle

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("kill")]

COUNT = 60_000
SEED = 20_261_121


class House:
    """A warehouse that can be killed and comes back on the same port with the same data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.handle = warehouse.start_process(folder / "warehouse")

    def crash(self) -> None:
        self.handle.kill()
        self.handle = warehouse.start_process(self._folder / "warehouse", self.handle.port)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    running = House(tmp_path)
    yield running
    running.handle.stop()


def _unacknowledged(stored: Stored, settings: Settings, made: Chunks) -> int:
    """Chunks that are stored, at least in part, and not acknowledged."""
    acknowledged = committed(settings.kafka.bootstrap, group_of(settings, "events"), EVENTS)
    there = stored.chunks()
    return sum(
        number in there for queue, offset in zip(made, acknowledged, strict=True) for number, _ in queue[offset:]
    )


def test_kill_9_in_the_middle_loses_and_repeats_nothing(kafka: KafkaServer, house: House, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    made = chunks(lines(COUNT, rng), rng)
    wanted = truth(made)
    assert len(wanted.events) == COUNT
    settings = prepare(kafka, house.handle, tmp_path, WORKER_TAKE_CHUNKS="4", WORKER_GROUP="killed")
    stored = Stored(Warehouse(settings.warehouse))
    worker = WorkerProcess(settings, tmp_path)
    produce(kafka.url, EVENTS, records(made))
    replayed = []
    try:
        for share in (0.02, 0.25, 0.5, 0.8):
            worker.start()
            found = wait_for_rows(stored, int(share * COUNT), worker)
            wait_for_rows(stored, found + 1, worker)  # an insert has just ended, its acknowledgement has not
            time.sleep(rng.choice((0, 0.003, 0.02)))
            worker.kill()
            replayed.append(_unacknowledged(stored, settings, made))
            assert stored.count() < COUNT, "the worker was done before it was killed"
        worker.start()
        wait_for_rows(stored, int(0.85 * COUNT), worker)
        house.crash()
        wait_until_read(settings, [worker])
        missing = settled(stored, wanted)
        assert worker.stop() == 0
    finally:
        worker.end()
    assert not missing
    assert sum(map(bool, replayed)) >= 2, f"no kill hit between insert and acknowledgement: {replayed}"
    print(f"\nchunks stored and not acknowledged at the kills: {replayed}")


def test_a_crash_between_the_events_and_their_ledger_leaves_no_count_behind() -> None:
    """The narrowest place of all, reached on purpose: rows in `events`, no row in `ledger`, nothing acknowledged."""
    rng = random.Random(SEED)
    made = chunks(lines(2_000, rng), rng)
    warehouse_, clock = ChdbWarehouse(), ManualClock(time.time())
    crashed = make_worker(warehouse_, clock=clock)
    for start in range(0, len(records(made)), 7):
        batch = crashed.processor.process(records(made)[start : start + 7])
        warehouse_.write(batch.lines(), [], [])
        crashed.processor.stored(batch)
    worker = make_worker(warehouse_, clock=clock)
    run(worker, records(made))
    settle(worker, clock)
    assert Stored(warehouse_).ledger() == truth(made).ledger
    assert Stored(warehouse_).events().keys() == truth(made).events.keys()
