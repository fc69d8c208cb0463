"""The scenarios of servers, disks, data and clocks can fail, too: each with a defect planted (see `test_defects`)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults import test_clocks as clocks
from tests.faults import test_defects
from tests.faults import test_duplicates as duplicates
from tests.faults import test_full_disks as disks
from tests.faults import test_snapshots as snapshots
from tests.faults import test_warehouse_down as down
from tests.faults.defects_servers import DEFECTS
from tests.faults.sizes import Size
from tests.faults.test_defects import Planted

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]

FEW = Size(events=3_000, rate=500, seconds=3)
SKEWED = Size(events=1_500, rate=2_000)
PLANTED = (
    Planted("silent_insert_errors", "warehouse", disks.test_disk_full_for_the_warehouse, "lost", FEW),
    Planted("forgotten_ids", "worker", duplicates.test_duplicates, "accepted|not within", Size(events=4_000)),
    Planted("forgotten_flush", "worker", down.test_warehouse_away, "windows|user", FEW),
    Planted("answer_before_insert", "warehouse", down.test_warehouse_killed_during_inserts, "lost", FEW),
    Planted("checkpoint_by_own_clock", "worker", clocks.test_clocks_are_off, "windows|user", SKEWED),
    Planted("versions_by_own_clock", "worker", clocks.test_clocks_are_off, "windows|user", SKEWED),
    Planted(
        "forgotten_predictions",
        "model",
        snapshots.test_model_killed_while_it_writes_snapshots,
        "inf|worst|<",
        Size(times=3),
    ),
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
    with pytest.raises(AssertionError) as caught:
        planted.scenario(planted.size, planted.kind, lambda **_: None, tmp_path, {planted.where: planted.defect})
    said = str(caught.value)
    assert re.search(planted.shown, said), f"it failed, and not for the planted defect: {said}"
    path = request.config.getoption("faults_results")
    if path:
        test_defects._keep(Path(path), planted, said)
