"""Workers whose clock is an hour or a day off, crash, and go on with a right one: windows and users stay exact."""

from __future__ import annotations

import random
import time

import pytest

import tests.support.workers
from schemas.clock import ManualClock
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
