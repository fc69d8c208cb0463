"""The same events over and over: in one batch, at once from many clients, after an hour, after 25 hours: one counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.doors import eventually
from tests.faults.client import Answers, merge
from tests.faults.clocks import begin_anew, with_clocks
from tests.faults.oracle import Figures, Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.traffic import Traffic

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]

HOUR = 3600
AGES = (25 * HOUR, HOUR)
"""Of the ids that are sent again, seconds; in short sizes only the first."""
CLIENTS = 8
BATCH = 5_000


@dataclass(frozen=True)
class Repeated(Traffic):
    """A stream that is sent `times` over: each batch is a few events, all of them so often."""

    times: int = 1

    def batches(self, count: int, size: int, first: int = 0) -> Iterator[list[int]]:
        """`size` events in a batch, of `size // times` different ones."""
        some = max(1, size // self.times)
        for begin in range(first, first + count, some):
            yield [*range(begin, min(first + count, begin + some))] * self.times


@pytest.mark.sizes(short=Size(events=9_000), full=Size(events=1_000_000))
def test_duplicates(size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]) -> None:
    """`events`: duplicates in all, at least; as many of each kind."""
    ages = AGES if size.full else AGES[:1]
    originals, kinds = max(100, size.events // 400), len(ages) + 2
    times = -(-size.events // kinds // originals)
    once = Repeated(seed=601, rate=1_000, late=0, again=0, invalid=0)
    several: list[Answers] = []
    with Pipeline(tmp_path, faults_kind, plants=with_clocks(plants, collector=-ages[0], worker=-ages[0])) as pipeline:
        for number, age in enumerate(ages):
            if number:
                begin_anew(pipeline, plants, collector=-age, worker=-age)
            several.append(_send(pipeline, _aged(once, age), originals, number * originals))
            pipeline.wait_for_rows((number + 1) * originals)
            pipeline.wait_drained()  # else the next life reads these chunks again, and learns their ids by that
        begin_anew(pipeline, plants, collector=0, worker=0)
        # What the worker knows now it has read from the warehouse: fingerprints of an hour ago and of yesterday.
        for number, age in enumerate(ages):
            several.append(_send(pipeline, _times(_aged(once, age), times), originals, number * originals))
        new = len(ages) * originals
        several.append(_send(pipeline, _times(once, times + 1), originals, new))
        several += _at_once(pipeline, _times(once, -(-times // CLIENTS)), originals, new)
        answers = merge(*several)
        pipeline.wait_drained(600)
        found = eventually(lambda: _found(pipeline, once, answers), lambda one: one.in_windows == one.figures.stored)
    assert not found.figures.lost and not found.figures.doubled, found
    assert found.figures.stored == new + originals, found
    assert found.accepted - found.duplicates == found.figures.stored and found.duplicates >= size.events, found
    record(
        duplicates=found.duplicates,
        events=found.figures.stored,
        lost=found.figures.lost,
        doubled=found.figures.doubled,
    )


def _aged(traffic: Repeated, age: int) -> Repeated:
    return Repeated(**{**vars(traffic), "start": traffic.start - age})


def _times(traffic: Repeated, times: int) -> Repeated:
    return Repeated(**{**vars(traffic), "times": max(1, times)})


def _send(pipeline: Pipeline, traffic: Repeated, count: int, first: int) -> Answers:
    with pipeline.client(traffic, count, first=first, batch=BATCH, rate=0) as client:
        pass
    return client.join()


def _at_once(pipeline: Pipeline, traffic: Repeated, count: int, first: int) -> list[Answers]:
    clients = [pipeline.client(traffic, count, first=first, batch=500, rate=0, threads=1) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    return [client.join() for client in clients]


class Found(NamedTuple):
    """What the tables say: of the ledger, the sum of all windows, and of the events."""

    accepted: int
    duplicates: int
    in_windows: int
    figures: Figures


def _found(pipeline: Pipeline, traffic: Traffic, answers: Answers) -> Found:
    row = pipeline.warehouse.query(
        "SELECT sumIf(n, stage = 'accepted') AS accepted, sumIf(n, stage = 'duplicate') AS duplicates,"
        " (SELECT sum(events) FROM windows FINAL WHERE tenant = 'demo') AS in_windows"
        " FROM ledger FINAL WHERE tenant = 'demo'"
    )[0]
    figures = Oracle(pipeline.warehouse).figures(traffic, answers)
    return Found(int(row["accepted"]), int(row["duplicates"]), int(row["in_windows"]), figures)
