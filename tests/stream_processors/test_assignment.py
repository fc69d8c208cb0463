"""Taking over partitions while a batch is on its way to the warehouse loses no id and counts nothing twice."""

from __future__ import annotations

import random
import threading

from schemas.clock import ManualClock
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.chunks import NOW, PARTITIONS, chunked, random_event
from tests.support.workers import LEDGER, make_worker

LINES = [random_event(random.Random(5 * n), n) for n in range(60)]


def test_an_assignment_waits_for_what_is_being_stored() -> None:
    warehouse = ChdbWarehouse()
    worker = make_worker(warehouse, clock=ManualClock(NOW))
    worker.assign(range(PARTITIONS))
    store = worker.handle_events(chunked(LINES, random.Random(1)))
    again = threading.Thread(target=worker.assign, args=(range(PARTITIONS),))
    again.start()
    again.join(0.3)
    assert again.is_alive(), "the state was loaded before the batch was stored"
    store()
    again.join(10)
    worker.handle_events(chunked(LINES, random.Random(2)))()
    assert warehouse.query("SELECT count() AS n FROM events")[0]["n"] == len(LINES)
    counts = {row["stage"]: row["n"] for row in warehouse.query(LEDGER)}
    assert (counts["accepted"], counts["duplicate"]) == (2 * len(LINES), len(LINES))
