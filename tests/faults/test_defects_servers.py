"""Scenarios of servers and disks can fail, too: with a defect planted (see `test_defects`)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas.errors import HeadraceError
from tests.faults import test_clocks as clocks
from tests.faults import test_conflicts as conflicts
from tests.faults import test_defects
from tests.faults import test_duplicates as duplicates
from tests.faults import test_full_disks as disks
from tests.faults import test_partitions as partitions
from tests.faults import test_poison as poison
from tests.faults import test_snapshots as snapshots
from tests.faults import test_soak as soak
from tests.faults import test_warehouse_down as warehouse
from tests.faults.defects_servers import DEFECTS
from tests.faults.sizes import Size
from tests.faults.test_defects import Planted

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]

FEW = Size(events=3_000, rate=500, seconds=3)
LOST = "lost|offsets moved|dead letters"
PLANTED = (
    Planted("forgotten_ids", "worker", duplicates.test_duplicates, "accepted=", Size(events=4_000)),
    Planted(
        "silent_insert_errors", "warehouse", disks.test_disk_full_for_the_warehouse, "lost|CORRUPTED_DATA|246", FEW
    ),
    Planted("answer_before_kafka", "collector", disks.test_disk_full_for_kafka, "lost", FEW, "apache"),
    Planted("boastful_spool", "collector", disks.test_disk_full_for_the_spool, "lost", FEW, "apache"),
    Planted("commit_on_failure", "worker", warehouse.test_warehouse_away, LOST, Size(4_000, 600, seconds=5)),
    Planted("commit_on_failure", "worker", warehouse.test_warehouse_killed_during_inserts, LOST, Size(4_000, 800, 2)),
    Planted("own_clock_only", "worker", clocks.test_clocks_are_off, "windows|user", Size(events=24_000, rate=1_000)),
    Planted("poisoned_batches", "worker", poison.test_poison, "lost", Size(events=1_000, rate=250)),
    Planted(
        "uncorrected_conflicts", "watcher", conflicts.test_the_same_id_for_different_events, "windows|user", Size(900)
    ),
    Planted(
        "forgotten_ids",
        "worker",
        partitions.test_partitions_doubled_between_two_runs,
        "windows|ledger",
        Size(events=2_000, rate=1_000),
        "apache",
    ),
    Planted(
        "frozen_snapshots", "model", snapshots.test_model_killed_while_it_writes_snapshots, "< 1e-09", Size(times=12)
    ),
    Planted("dropped_lines", "collector", soak.test_soak, "lost", Size(rate=300, seconds=10)),
)


def test_every_defect_is_planted_somewhere() -> None:
    assert {one.__name__ for one in DEFECTS} <= {one.defect.partition("=")[0] for one in PLANTED}


@pytest.mark.parametrize("planted", PLANTED, ids=str)
def test_a_planted_defect_turns_its_scenario_red(
    planted: Planted, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.config.getoption("faults") == "short":
        pytest.skip("planted in the full size: pytest tests/faults/test_defects_servers.py --faults full")
    monkeypatch.setattr("tests.faults.oracle.PATIENCE", planted.patience)
    with pytest.raises((AssertionError, HeadraceError)) as caught:
        planted.scenario(planted.size, planted.kind, lambda **_: None, tmp_path, {planted.where: planted.defect})
    said = str(caught.value)
    assert re.search(planted.shown, said), f"it failed, and not for the planted defect: {said}"
    path = request.config.getoption("faults_results")
    if path:
        test_defects._keep(Path(path), planted, said)
