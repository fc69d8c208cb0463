"""Each scenario can fail: with a defect planted in the processes, its oracle must turn red, and say what is wrong.

`--faults full` plants every defect, always in short sizes; the short run plants `SHORT`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults import test_collector_kill as collector
from tests.faults import test_kafka_restart as kafka
from tests.faults import test_network as network
from tests.faults import test_scaling as scaling
from tests.faults import test_sink_faults as sink
from tests.faults import test_skew as skew
from tests.faults import test_worker_kill as worker
from tests.faults.defects import DEFECTS, PLANTS
from tests.faults.sizes import ROOT, Size

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]


@dataclass(frozen=True)
class Planted:
    """`defect` (of tests/faults/defects.py) in the processes called `where`: `scenario` must fail, saying `shown`."""

    defect: str
    where: str
    scenario: Callable[..., None]
    shown: str
    size: Size
    kind: str = "tansu"

    @property
    def patience(self) -> float:
        """Seconds that the oracle gives the tables to follow; what was lost never comes."""
        return 2.0 if self.shown == "lost" else 15.0

    def __str__(self) -> str:
        return f"{self.defect.partition('=')[0]}-{self.scenario.__name__.removeprefix('test_')}"


KILLS = Size(events=4_000, rate=500, times=2)
PLANTED = (
    Planted("acknowledge_before_insert", "worker", worker.test_worker_killed_again_and_again, "lost", KILLS),
    Planted("take_for_noack_take", "worker", worker.test_worker_killed_again_and_again, "lost", KILLS),
    Planted("forgotten_ids", "worker", worker.test_worker_killed_again_and_again, "windows|user|ledger", KILLS),
    Planted("forgotten_windows", "worker", worker.test_worker_killed_again_and_again, "windows", KILLS),
    Planted("forgotten_users", "worker", worker.test_worker_killed_again_and_again, "user", KILLS),
    Planted(
        "answer_before_kafka",
        "collector",
        collector.test_collector_killed_again_and_again,
        "lost",
        Size(events=6_000, rate=1_000, times=4),
    ),
    Planted(
        "dropped_lines",
        "collector",
        collector.test_collector_killed_again_and_again,
        "lost",
        Size(events=2_000, rate=1_000, times=1),
    ),
    Planted(
        "same_chunk_numbers",
        "collector",
        collector.test_collector_killed_again_and_again,
        "ledger",
        Size(events=3_000, rate=1_000, times=2),
    ),
    Planted(
        "ledger_counted_twice",
        "collector",
        sink.test_sink_that_fails_now_and_then,
        "received - accepted",
        Size(events=2_000, rate=1_000),
    ),
    Planted(
        "commit_on_failure", "worker", sink.test_sink_that_fails_now_and_then, "lost", Size(events=3_000, rate=1_000)
    ),
    Planted("slow_exit", "worker", scaling.test_rolling_sigterm, r"< 15", Size(events=1_500, rate=500, full=True)),
    Planted(
        "forgotten_windows",
        "worker",
        scaling.test_two_workers_become_four_and_two_again,
        "windows",
        Size(events=4_000, rate=500, seconds=3),
    ),
    Planted(
        "answer_before_kafka", "collector", kafka.test_kafka_restarted, "lost", Size(events=4_000, rate=500), "apache"
    ),
    Planted(
        "answer_before_kafka",
        "collector",
        network.test_network_cut_one_way_flapping_and_black_hole,
        "lost",
        Size(events=24_000, rate=400, seconds=8),
    ),
    Planted(
        "forgotten_windows",
        "worker",
        network.test_worker_stopped_and_woken_as_a_zombie,
        "windows",
        Size(events=4_000, rate=500, seconds=6),
    ),
    Planted(
        "slow_for_one_user=4",
        "worker",
        skew.test_one_user_causes_most_of_the_traffic,
        "p99 went from",
        Size(events=3_000, rate=1_000, full=True),
    ),
)
SHORT = ("acknowledge_before_insert",)


def test_every_defect_is_planted_somewhere() -> None:
    assert {one.__name__ for one in DEFECTS} == {one.defect.partition("=")[0] for one in PLANTED}


def test_every_plant_finds_its_place_in_the_product(tmp_path: Path) -> None:
    """A plant whose piece was renamed would make its check idle: it must fail, and it does."""
    values = {"trace": str(tmp_path / "trace"), "clock": "1"}
    words = [f"{name}={values.get(name, '')}" for name in PLANTS]
    code = "import sys; from tests.faults.defects import plant; [plant(word) for word in sys.argv[1:]]"
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("planted", PLANTED, ids=str)
def test_a_planted_defect_turns_its_scenario_red(
    planted: Planted, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.config.getoption("faults") == "short" and planted.defect not in SHORT:
        pytest.skip("planted in the full size: pytest tests/faults/test_defects.py --faults full")
    monkeypatch.setattr("tests.faults.oracle.PATIENCE", planted.patience)
    plants = {planted.where: planted.defect}
    with pytest.raises(AssertionError) as caught:
        planted.scenario(planted.size, planted.kind, lambda **_: None, tmp_path, plants)
    said = str(caught.value)
    assert re.search(planted.shown, said), f"it failed, and not for the planted defect: {said}"
    path = request.config.getoption("faults_results")
    if path:
        _keep(Path(path), planted, said)


def _keep(path: Path, planted: Planted, said: str) -> None:
    line: dict[str, Any] = {
        "defect": planted.defect,
        "what": (PLANTS[planted.defect.partition("=")[0]].__doc__ or "").split("\n")[0],
        "scenario": planted.scenario.__name__.removeprefix("test_").replace("_", " "),
        "broker": planted.kind,
        "full": False,
        "shown": _summary(said),
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _summary(said: str) -> str:
    """The kinds of differences, with how many of each where that was said; else the first line."""
    kinds = re.findall(r"^(\S.*):\n    (?:(\d+) in all)?", said, re.M)
    if not kinds:
        return said.splitlines()[0][:120]
    return "; ".join(f"{kind.split(' (')[0]}{f' ({n})' if n else ''}" for kind, n in kinds)
