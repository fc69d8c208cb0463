"""Workers whose clock is an hour or a day off, crash, and go on with a right one: windows and users stay exact."""

from __future__ import annotations

import random
import time

import pytest

import tests.support.workers
from schemas.clock import ManualClock
from schemas.errors import Retryable
from schemas.taxonomy import shipped_packs
from tests.integration.servers import Stored, differences
from tests.integration.traffic import chunks, lines, records, truth
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.workers import make_worker, run, settle

HOUR, DAY = 3600.0, 86_400.0


@pytest.mark.parametrize("off", [HOUR, -HOUR, DAY, -DAY])
def test_a_worker_with_a_wrong_clock_crashes_and_nothing_is_missing(
    off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint is by the warehouse's clock, and versions go on above those that the wrong clock gave."""
    monkeypatch.setattr(tests.support.workers, "ROLES", {name: pack.roles for name, pack in shipped_packs().items()})
    rng = random.Random(20_261_121)
    made = chunks(lines(1_000, rng), rng)
    some, warehouse, clock = records(made), ChdbWarehouse(), ManualClock(time.time() + off)
    wrong = make_worker(warehouse, clock=clock)
    run(wrong, some[: len(some) // 2])
    settle(wrong, clock)
    wrong.flush(everything=True)
    run(wrong, some[len(some) // 2 :])  # stored, and never flushed: it crashes here
    for late in (off, 0.0):
        clock = ManualClock(time.time() + late + 60)
        worker = make_worker(warehouse, clock=clock)
        worker.assign(range(4))
        settle(worker, clock)
        worker.flush(everything=True)
        assert not differences(Stored(warehouse), truth(made))


def test_a_checkpoint_waits_for_old_minutes_whose_insert_took_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are stored, the machine stands still, the batch is reported, a checkpoint is written: a crash loses none."""
    monkeypatch.setattr("stream_processors.recovery.OVERLAP_SECONDS", 0.0)
    monkeypatch.setattr(tests.support.workers, "ROLES", {name: pack.roles for name, pack in shipped_packs().items()})
    rng = random.Random(20_261_122)
    made = chunks(lines(200, rng), rng)
    warehouse, clock = ChdbWarehouse(), ManualClock(time.time())
    worker = make_worker(warehouse, clock=clock)
    batch = worker.processor.process(records(made))
    warehouse.write(batch.lines(), batch.ledger, [])
    time.sleep(0.3)
    clock.advance(time.time() - clock.now())
    worker.processor.stored(batch)
    worker.flush(everything=True)
    after = make_worker(warehouse, clock=clock)
    after.assign(range(4))
    settle(after, clock)
    after.flush(everything=True)
    assert not differences(Stored(warehouse), truth(made))


def test_no_checkpoint_passes_minutes_that_could_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush fails, the next one writes a checkpoint before those minutes are due again: a crash loses none."""
    monkeypatch.setattr("stream_processors.recovery.OVERLAP_SECONDS", 0.0)
    monkeypatch.setattr(tests.support.workers, "ROLES", {name: pack.roles for name, pack in shipped_packs().items()})
    rng = random.Random(20_261_123)
    made = chunks(lines(200, rng), rng)
    warehouse, clock = ChdbWarehouse(), ManualClock(time.time())
    worker = make_worker(warehouse, clock=clock)
    run(worker, records(made), take=10_000)
    clock.advance(3)
    insert = warehouse.insert_lines

    def away(table: str, ndjson: bytes) -> None:
        raise Retryable("the warehouse is away")

    monkeypatch.setattr(warehouse, "insert_lines", away)
    worker.flush(everything=True)
    monkeypatch.setattr(warehouse, "insert_lines", insert)
    time.sleep(0.2)
    worker.flush(everything=True)
    after = make_worker(warehouse, clock=clock)
    after.assign(range(4))
    settle(after, clock)
    after.flush(everything=True)
    assert not differences(Stored(warehouse), truth(made))
