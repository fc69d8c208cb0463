"""Most of the traffic comes from one user, so from one partition: the others must hardly notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.client import Answers
from tests.faults.oracle import Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]

HOT = 0.9
FLOOR = {True: 1.0, False: 10.0}
"""Seconds under which a p99 counts as unharmed, in full size and in short ones, that run beside everything else."""


@pytest.mark.sizes(short=Size(events=2_000, rate=1_000), full=Size(events=600_000, rate=4_000))
def test_one_user_causes_most_of_the_traffic(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    """The same rate twice: spread over all users, then nine tenths from one. Freshness of the others' events."""
    even = Traffic(seed=109, rate=size.rate, late=0, invalid=0)
    skewed = Traffic(seed=110, rate=size.rate, late=0, invalid=0, hot=HOT)
    with Pipeline(tmp_path, faults_kind, workers=2, plants=plants) as pipeline:
        before = _send(pipeline, even, size.events)
        calm = _p99(pipeline, even)
        after = _send(pipeline, skewed, size.events)
        others = _p99(pipeline, skewed)
        for traffic, answers in ((even, before), (skewed, after)):
            assert len(answers.acknowledged) == size.events
            assert Oracle(pipeline.warehouse).lost(traffic, answers) == set()
    assert others <= max(2 * calm, FLOOR[size.full]), f"the others' p99 went from {calm:.2f} s to {others:.2f} s"
    record(events=2 * size.events, p99_even_seconds=round(calm, 2), p99_skewed_seconds=round(others, 2))


def _send(pipeline: Pipeline, traffic: Traffic, count: int) -> Answers:
    with pipeline.client(traffic, count, batch=50, threads=4) as client:
        pass
    answers = client.join()
    pipeline.wait_drained()
    return answers


def _p99(pipeline: Pipeline, traffic: Traffic) -> float:
    """Seconds from receipt to the row, of all users but the hot one."""
    first, last = traffic.event_id(0), traffic.event_id((1 << 64) - 1)
    rows = pipeline.warehouse.query(
        "SELECT quantileExact(0.99)(toFloat64(inserted_at) - toFloat64(received_at)) AS p99 FROM events FINAL"
        " WHERE user_id != 'user-hot' AND event_id BETWEEN {first:String} AND {last:String}",
        {"first": first, "last": last},
    )
    return float(rows[0]["p99"])
