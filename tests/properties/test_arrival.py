"""Any arrival order, the same answer: shuffled, duplicated, cut into other chunks, replayed, restarted."""

from __future__ import annotations

import functools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.clock import ManualClock
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.chunks import NOW, PARTITIONS, chunked, random_event
from tests.support.workers import LEDGER, everything, make_worker, run, settle

LINES = [random_event(random.Random(7 * n), n) for n in range(400)]


@functools.cache
def _reference() -> dict[str, list[dict[str, object]]]:
    warehouse, clock = ChdbWarehouse(), ManualClock(NOW)
    worker = make_worker(warehouse, clock=clock)
    run(worker, chunked(LINES, random.Random(1)))
    settle(worker, clock)
    return everything(warehouse)


@given(seed=st.integers(0, 2**32), duplicated=st.floats(0, 1), restarts=st.integers(0, 3))
@settings(max_examples=12, deadline=None)
def test_shuffled_duplicated_rechunked_and_restarted_gives_the_same_answer(
    seed: int, duplicated: float, restarts: int
) -> None:
    rng = random.Random(seed)
    extra = rng.sample(LINES, int(len(LINES) * duplicated))
    lines = LINES + extra
    rng.shuffle(lines)
    records = chunked(lines, rng)
    rng.shuffle(records)
    warehouse, clock = ChdbWarehouse(), ManualClock(NOW)
    cuts = sorted(rng.randrange(len(records)) for _ in range(restarts))
    start = 0
    for cut in [*cuts, len(records)]:
        worker = make_worker(warehouse, clock=clock)
        worker.assign(range(PARTITIONS))
        run(worker, records[max(0, start - 5) : cut], take=rng.randrange(1, 20))
        start = cut
        if rng.random() < 0.5:
            worker.flush()
    settle(worker, clock)
    found, reference = everything(warehouse), _reference()
    assert found["events"] == reference["events"]
    assert found["users"] == reference["users"]
    assert found["windows"] == reference["windows"]
    counts = {row["stage"]: row["n"] for row in warehouse.query(LEDGER)}
    assert counts["accepted"] == len(lines)
    assert counts.get("duplicate", 0) == len(extra)


def test_a_crash_between_insert_and_acknowledgement_counts_nothing_twice() -> None:
    warehouse, clock = ChdbWarehouse(), ManualClock(NOW)
    records = chunked(LINES, random.Random(3))
    run(make_worker(warehouse, clock=clock), records)
    again = make_worker(warehouse, clock=clock)
    run(again, records)
    settle(again, clock)
    assert warehouse.query("SELECT count() AS n FROM events")[0]["n"] == len(LINES)
    counts = {row["stage"]: row["n"] for row in warehouse.query(LEDGER)}
    assert counts["accepted"] == len(LINES)
    assert "duplicate" not in counts
    assert everything(warehouse) == _reference()


def test_a_crash_before_insert_loses_nothing() -> None:
    """Nothing is flushed of what is not stored: the flush waits for the store, here for ever."""
    warehouse, clock = ChdbWarehouse(), ManualClock(NOW)
    records = chunked(LINES, random.Random(3))
    crashed = make_worker(warehouse, clock=clock)
    for start in range(0, len(records), 10):
        crashed.handle_events(records[start : start + 10])
    worker = make_worker(warehouse, clock=clock)
    run(worker, records)
    settle(worker, clock)
    assert everything(warehouse) == _reference()
