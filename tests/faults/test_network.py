"""The network fails: one way only, again and again, into a black hole; and a machine hangs and wakes as a zombie."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.oracle import Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]


@pytest.mark.sizes(short=Size(events=3_000, rate=400, seconds=2), full=Size(events=300_000, rate=1_000, seconds=60))
def test_network_cut_one_way_flapping_and_black_hole(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    """Before Kafka and before the warehouse: half the time one way each, flapping, and a black hole of `seconds`."""
    traffic = Traffic(seed=107, rate=size.rate)
    recoveries: list[float] = []
    with Pipeline(tmp_path, faults_kind, workers=2, plants=plants, proxied=["kafka", "warehouse"]) as pipeline:
        kafka, house = pipeline.proxies["kafka"], pipeline.proxies["warehouse"]
        faults = (
            (lambda: kafka.black_hole("up"), size.seconds / 2),
            (lambda: house.black_hole("down"), size.seconds / 2),
            (lambda: (kafka.flap(size.seconds / 10), house.flap(size.seconds / 15)), size.seconds),
            (lambda: (kafka.black_hole(), house.black_hole()), size.seconds),
        )
        with pipeline.client(traffic, size.events) as client:
            for number, (break_it, seconds) in enumerate(faults):
                client.wait_for((number + 0.5) / len(faults) * 0.5)
                break_it()
                time.sleep(seconds)
                kafka.open()
                house.open()
                pipeline.restart_dead()
                recoveries.append(pipeline.recovery_seconds(time.time(), client))
        answers = client.join()
        pipeline.wait_drained(supervise=True)
        found = Oracle(pipeline.warehouse).check(traffic, answers)
    record(
        cuts=len(faults),
        black_hole_seconds=size.seconds,
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
        lag_recovery_seconds=round(max(recoveries), 1),
    )


@pytest.mark.sizes(short=Size(events=4_000, rate=500, seconds=5), full=Size(events=300_000, rate=1_500, seconds=120))
def test_worker_stopped_and_woken_as_a_zombie(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    """One of two workers hangs in the middle of its work; the other takes over; then the first goes on as before."""
    traffic, trace = Traffic(seed=108, rate=size.rate), tmp_path / "trace"
    planted = ",".join(filter(None, (f"trace={trace}", plants.get("worker", ""))))
    with Pipeline(tmp_path, faults_kind, workers=2, plants={**plants, "worker": planted}) as pipeline:
        with pipeline.client(traffic, size.events) as client:
            client.wait_for(0.2)
            pipeline.stop_process("worker-1")
            stopped = time.time()
            recovery = pipeline.recovery_seconds(stopped, client)
            time.sleep(max(0.0, size.seconds - (time.time() - stopped)))
            pipeline.cont("worker-1")
        answers = client.join()
        pipeline.wait_drained(supervise=True)
        found = Oracle(pipeline.warehouse).check(traffic, answers)
    record(
        stopped_seconds=size.seconds,
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
        lag_recovery_seconds=round(recovery, 1),
    )
