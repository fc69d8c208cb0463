"""The number of partitions is doubled between two runs: users change their partition, and their ids are still known."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.migrations import grow_all_topics
from schemas.clock import SystemClock
from schemas.errors import Fatal
from tests.faults.client import Answers, merge
from tests.faults.oracle import Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]


@pytest.mark.durable
@pytest.mark.sizes(short=Size(events=2_000, rate=1_000), full=Size(events=300_000, rate=3_000))
def test_partitions_doubled_between_two_runs(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    """Half of the events before, half after; and after it a quarter once more, under the ids of before."""
    traffic, half, clock = Traffic(seed=111, rate=size.rate), size.events // 2, SystemClock()
    with Pipeline(tmp_path, faults_kind, workers=2, plants=plants) as pipeline:
        partitions = pipeline.settings.kafka.partitions
        several = [_send(pipeline, traffic, half, 0)]
        names = (*pipeline.collectors, *pipeline.workers)
        for name in pipeline.workers:
            pipeline.kill(name)
        several.append(_send(pipeline, traffic, half // 2, 0))
        pipeline.resettle(KAFKA_PARTITIONS=str(2 * partitions))
        with pytest.raises(Fatal, match="records wait for the workers"):
            grow_all_topics(pipeline.settings, clock)
        pipeline.resettle(KAFKA_PARTITIONS=str(partitions))
        pipeline.start(*pipeline.workers)
        for name in pipeline.collectors:
            pipeline.term(name)
        pipeline.wait_drained()
        for name in pipeline.workers:
            pipeline.term(name)
        pipeline.resettle(KAFKA_PARTITIONS=str(2 * partitions))
        grow_all_topics(pipeline.settings, clock)
        pipeline.start(*names)
        pipeline.wait_assigned()
        several.append(_send(pipeline, traffic, half // 2, 0))
        several.append(_send(pipeline, traffic, half, half))
        pipeline.wait_drained()
        found = Oracle(pipeline.warehouse).check(traffic, merge(*several))
    record(
        partitions=f"{partitions} to {2 * partitions}",
        sent_again=half // 2,
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
    )


def _send(pipeline: Pipeline, traffic: Traffic, count: int, first: int) -> Answers:
    with pipeline.client(traffic, count, first=first) as client:
        pass
    return client.join()
