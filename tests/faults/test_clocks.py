"""Clocks an hour and a day off: of the collector, of the worker, of clients. Nothing is lost, nothing counted twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.clock import SystemClock
from schemas.keys import Kind, create_key
from schemas.reasons import Reason
from tests.e2e.doors import eventually
from tests.faults.client import Answers, merge
from tests.faults.clocks import begin_anew, with_clocks
from tests.faults.oracle import Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]

HOUR, DAY = 3600, 86_400
SHORT = ((HOUR, DAY), (DAY, -HOUR))
FULL = ((HOUR, HOUR), (DAY, DAY), (HOUR, -HOUR), (0, -DAY), (DAY, -DAY), (0, DAY))
"""Seconds that the collector's and the worker's clock are ahead, one pair after the other."""


@pytest.mark.sizes(short=Size(events=1_500, rate=2_000), full=Size(events=140_000, rate=2_000))
def test_clocks_are_off(size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]) -> None:
    pairs = FULL if size.full else SHORT
    traffic, each = Traffic(seed=401, rate=size.rate), size.events // (len(pairs) + 1)
    keys = {tenant: _key(tmp_path, tenant) for tenant in ("behind", "ahead")}
    several: list[Answers] = []
    first = with_clocks(plants, collector=pairs[0][0], worker=pairs[0][1])
    with Pipeline(tmp_path, faults_kind, plants=first) as pipeline:
        for number, (collector, worker) in enumerate((*pairs, (0, 0))):
            if number:
                begin_anew(pipeline, plants, collector=collector, worker=worker)
            several.append(_send(pipeline, traffic, each, number * each))
            pipeline.wait_for_rows(int(0.9 * (number + 1) * each), within=600)
        answers = merge(*several)
        pipeline.wait_drained()
        found = Oracle(pipeline.warehouse).check(traffic, answers)
        refused = _clients_are_off(pipeline, keys, each)
    record(clocks=len(pairs), events=found.stored, lost=found.lost, doubled=found.doubled, from_the_future=refused)


def _clients_are_off(pipeline: Pipeline, keys: dict[str, str], each: int) -> int:
    """The collector's clock judges: what is of its future is rejected and says so, what is of yesterday is late.

    Returns how many events were rejected.
    """
    start = Traffic().start
    for tenant, sign in (("behind", -1), ("ahead", 1)):
        for number, off in enumerate((HOUR, DAY + HOUR)):
            traffic = Traffic(seed=402, invalid=0, late=0, again=0, start=start + sign * off - number * each / 1000)
            answers = _send(pipeline, traffic, each, number * each, keys[tenant])
            assert set(answers.rejected.values()) == ({Reason.FUTURE_TIMESTAMP} if sign > 0 else set())
            assert len(answers.rejected if sign > 0 else answers.acknowledged) == each
    eventually(lambda: _counts(pipeline, "behind"), lambda counts: counts == (2 * each, 0, each), within=60)
    eventually(lambda: _counts(pipeline, "ahead"), lambda counts: counts == (0, 2 * each, 0), within=60)
    return 2 * each


def _key(folder: Path, tenant: str) -> str:
    return create_key(folder / "keys.json", SystemClock(), kind=Kind.WRITE, tenant=tenant, pack="marketing")[1]


def _send(pipeline: Pipeline, traffic: Traffic, count: int, first: int, key: str = "") -> Answers:
    with pipeline.client(traffic, count, first=first, **({"key": key} if key else {})) as client:
        pass
    return client.join()


def _counts(pipeline: Pipeline, tenant: str) -> tuple[int, int, int]:
    """Stored, rejected, late."""
    tables = {"stored": "count() FROM events", "rejected": "count() FROM rejected_events"}
    tables["late"] = "countIf(late_arrival) FROM events"
    asked = ", ".join(
        f"(SELECT {what} FINAL WHERE tenant = {{tenant:String}}) AS {name}" for name, what in tables.items()
    )
    row = pipeline.warehouse.query(f"SELECT {asked}", {"tenant": tenant})[0]
    return int(row["stored"]), int(row["rejected"]), int(row["late"])
