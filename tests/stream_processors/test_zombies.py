"""A worker that was stopped and does not know that its partitions have another owner changes nothing for anybody."""

from __future__ import annotations

import random
from typing import Any

from schemas.clock import ManualClock
from stream_processors.flush import Flusher
from stream_processors.recovery import Recovery
from stream_processors.worker import Worker
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.chunks import NOW, PARTITIONS, chunked, random_event
from tests.support.workers import everything, make_worker, run, settle

LINES = [random_event(random.Random(7 * n), n) for n in range(80)]
RECORDS = chunked(LINES, random.Random(4))


def undisturbed() -> dict[str, list[dict[str, object]]]:
    warehouse, clock = ChdbWarehouse(), ManualClock(NOW)
    worker = make_worker(warehouse, clock=clock)
    run(worker, RECORDS)
    settle(worker, clock)
    return everything(warehouse)


def fenced(worker: Worker, clock: ManualClock) -> list[bool]:
    """Let the worker's flush ask this list's last entry whether the partitions are its own."""
    holds = [True]
    worker._flusher = Flusher(
        worker.processor,
        worker._flusher._recovery,
        worker._flusher._warehouse,
        worker._flusher._emit,
        clock,
        holds=lambda: holds[-1],
    )
    return holds


def test_a_zombie_stores_its_batch_again_and_flushes_nothing() -> None:
    """It was stopped with a batch in its hands; the new owner handled the same records, and more; then it woke."""
    warehouse, clock = ChdbWarehouse(), ManualClock(NOW)
    zombie = make_worker(warehouse, clock=clock)
    holds = fenced(zombie, clock)
    half = len(RECORDS) // 2
    run(zombie, RECORDS[: half // 2])
    zombie.flush()
    in_hand = [zombie.handle_events(RECORDS[start : start + 7]) for start in range(half // 2, half, 7)]
    holds[0] = False
    clock.advance(60)
    owner = make_worker(warehouse, clock=clock)
    run(owner, RECORDS[half // 2 :])
    settle(owner, clock)
    clock.advance(60)
    for store in in_hand:
        store()
    settle(zombie, clock)
    assert everything(warehouse) == undisturbed()


def test_without_the_fence_its_flush_would_stand_above_the_owners() -> None:
    """The check above can fail: the same, with a zombie that believes itself the owner."""
    warehouse, clock = ChdbWarehouse(), ManualClock(NOW)
    zombie = make_worker(warehouse, clock=clock)
    half = len(RECORDS) // 2
    run(zombie, RECORDS[:half])
    owner = make_worker(warehouse, clock=clock)
    clock.advance(1)
    run(owner, RECORDS[half:])
    settle(owner, clock)
    settle(zombie, clock)
    assert everything(warehouse) != undisturbed()


def test_a_batch_that_a_zombie_stores_while_the_state_is_loaded_counts_once() -> None:
    """Ids are read first, then counts: rows that come in between must not be in one and missing in the other."""
    warehouse, clock = ChdbWarehouse(), ManualClock(NOW)
    zombie = make_worker(warehouse, clock=clock)
    run(zombie, RECORDS[:10])
    in_hand = [zombie.handle_events(RECORDS[10:])]
    owner = make_worker(warehouse, clock=clock)
    recovery = owner.processor._recovery
    load_windows = recovery._load_windows

    def woken(*arguments: object) -> None:
        while in_hand:
            in_hand.pop()()
        load_windows(*arguments)  # type: ignore[arg-type]

    recovery._load_windows = woken  # type: ignore[method-assign]
    owner.assign(range(PARTITIONS))
    run(owner, RECORDS[10:])
    settle(owner, clock)
    assert everything(warehouse) == undisturbed()


def test_loading_that_never_comes_to_rest_ends_nevertheless() -> None:
    warehouse, clock = ChdbWarehouse(), ManualClock(NOW)
    worker = make_worker(warehouse, clock=clock)
    run(worker, RECORDS)
    loads: list[int] = []
    numbers = iter(range(1000))

    class Restless(Recovery):
        def _rows(self, mine: str) -> dict[str, int]:
            return {"n": next(numbers)}

        def _load(self, ids: Any):  # type: ignore[no-untyped-def]
            loads.extend(ids)
            return super()._load(ids)

    recovery = worker.processor._recovery
    recovery.__class__ = Restless
    recovery.load([0])
    assert len(loads) == 5
