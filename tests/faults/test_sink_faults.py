"""The warehouse fails now and then: before the rows are stored, after it, and with every connection reset."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.client import until_done
from tests.faults.oracle import Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]

SHARE = {False: 0.1, True: 0.01}
"""Share of the inserts that fail; more of them where there are few."""


@pytest.mark.sizes(short=Size(events=3_000, rate=1_000), full=Size(events=500_000, rate=3_000))
def test_sink_that_fails_now_and_then(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    traffic = Traffic(seed=103, rate=size.rate)
    planted = ",".join(filter(None, (f"flaky_sink={SHARE[size.full]}", plants.get("worker", ""))))
    with Pipeline(
        tmp_path, faults_kind, plants={**plants, "worker": planted}, proxied=["warehouse"], WORKER_TAKE_CHUNKS="10"
    ) as pipeline:
        resets = 0
        with pipeline.client(traffic, size.events, batch=50) as client:
            for _ in until_done(client, every=1.0):
                pipeline.proxies["warehouse"].reset()
                resets += 1
                time.sleep(0.5)
        answers = client.join()
        pipeline.wait_drained()
        found = Oracle(pipeline.warehouse).check(traffic, answers)
        failed = pipeline.log_text("worker-1").count("planted: the connection broke")
    assert failed >= 3, f"only {failed} inserts failed"
    record(
        failed_inserts=failed,
        resets=resets,
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
    )
