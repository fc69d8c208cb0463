"""kill -9 while models write snapshots, and snapshots that are damaged: predictions equal those of a replay to 1e-9."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from deploy.embedded.process import spawn, tail
from online_models.snapshots import SnapshotStore
from stream_processors.insights.churn_runner import DAY, ChurnRunner
from tests.faults import model_days
from tests.faults.sizes import Record, Size

pytestmark = [pytest.mark.xdist_group("faults")]

DAYS = 60
NEAR = 1e-9


@pytest.mark.sizes(short=Size(times=3), full=Size(times=50))
def test_model_killed_while_it_writes_snapshots(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    """`times`: kills. When the days are done before, the next life begins at the first one again."""
    chance, folder, out = random.Random(901), tmp_path / "snapshots", tmp_path / "predictions"
    replay = _replay()
    kills = rounds = cut_short = 0
    while kills < size.times or not _is_done(out):
        life = _start(folder, out, tmp_path / "log", plants)
        if kills < size.times and _killed(life, folder, chance):
            kills += 1
            cut_short += any(folder.glob("*.tmp"))
            continue
        assert life.wait(300) == 0, tail(tmp_path / "log", 30)
        assert model_days.worst(replay, model_days.read(out)) < NEAR
        if kills < size.times:
            rounds += 1
            out.unlink()
            shutil.rmtree(folder)
    difference = model_days.worst(replay, model_days.read(out))
    assert difference < NEAR
    record(kills=kills, writes_cut_short=cut_short, replays=rounds + 1, days=DAYS, largest_difference=difference)


@cache
def _replay() -> dict[tuple[int, str], float]:
    """Every prediction of a model that was never interrupted."""
    return model_days.run(None, None, DAYS)


def _start(folder: Path, out: Path, log: Path, plants: dict[str, str]) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "tests.faults.model_days", str(folder), str(out), str(DAYS)]
    return spawn([*words, *filter(None, [plants.get("model", "")])], log)


def _killed(life: subprocess.Popen[bytes], folder: Path, chance: random.Random) -> bool:
    """Kill it some snapshots later, best in the middle of writing one; false when it ended before."""
    goal, deadline = _newest(folder) + chance.randrange(1, 9), time.monotonic() + 120
    while life.poll() is None and time.monotonic() < deadline:
        if _newest(folder) >= goal and (any(folder.glob("*.tmp")) or chance.random() < 0.05):
            life.kill()
            return life.wait() == -9
        time.sleep(0.0005)
    return False


def _newest(folder: Path) -> int:
    return max((int(path.stem) for path in folder.glob("*.snapshot")), default=0)


def _is_done(out: Path) -> bool:
    return any(day == DAYS for day, _ in model_days.read(out))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _of_another_river(path: Path) -> None:
    """A whole one, checksum and all, that an older River wrote."""
    import msgspec

    from online_models import snapshots

    manifest, payload = snapshots._open(path.read_bytes())
    path.write_bytes(snapshots._seal(msgspec.structs.replace(manifest, river="0.1.0"), payload))


@pytest.mark.sizes(short=Size(), full=Size())
@pytest.mark.parametrize("damage", [_flip, _cut, _empty, _of_another_river], ids=lambda one: one.__name__.strip("_"))
def test_model_starts_from_the_newest_whole_snapshot(
    damage: Callable[[Path], None],
    size: Size,
    faults_kind: str,
    record: Record,
    tmp_path: Path,
    plants: dict[str, str],
) -> None:
    """One damaged, then two, then all: it starts from the newest whole one, then from nothing; the answers stay."""
    replay = _replay()
    differences = []
    for damaged in (1, 2, 3):
        folder, out = tmp_path / str(damaged), tmp_path / f"{damaged}.out"
        assert model_days.run(SnapshotStore(folder), None, DAYS // 2)
        files = sorted(folder.glob("*.snapshot"))
        assert len(files) == 3
        for path in files[-damaged:]:
            damage(path)
        began = ChurnRunner("t", model_days.Made(), SnapshotStore(folder))
        assert len(began.skipped) == damaged
        wanted = None if damaged == 3 else model_days.START + (DAYS // 2 - damaged) * DAY
        assert began.last_day == wanted, "it did not start from the newest whole snapshot"
        model_days.run(SnapshotStore(folder), out, DAYS)
        rest = {key: value for key, value in replay.items() if damaged == 3 or key[0] > DAYS // 2 - damaged}
        differences.append(model_days.worst(rest, model_days.read(out)))
    assert max(differences) < NEAR
    record(damaged="1, 2 and 3 of 3", largest_difference=max(differences))
