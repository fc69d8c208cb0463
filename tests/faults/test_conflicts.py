"""The same id with another body, and with another user, who is on another partition: one stays, the rest shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.doors import eventually
from tests.faults.client import Answers
from tests.faults.oracle import Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.traffic import Event, Traffic

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]


@dataclass(frozen=True)
class OtherUser(Traffic):
    """The same ids and bodies, each of another user."""

    def event(self, number: int) -> Event:
        made = super().event(number)
        return {**made, "user_id": f"other-{number % self.users}"}


@dataclass(frozen=True)
class OtherBody(Traffic):
    """The same ids and users, each with another time."""

    def event(self, number: int) -> Event:
        return Traffic(**{**vars(self), "start": self.start - 61.0}).event(number)


@pytest.mark.sizes(short=Size(events=1_500, rate=1_000), full=Size(events=60_000, rate=2_000))
def test_the_same_id_for_different_events(
    size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]
) -> None:
    """A third of `events` comes first; the same ids again with other users; and with other bodies. A worker is killed
    in the middle of it, and the watcher, whose work it is to find those on two partitions."""
    once, count = Traffic(seed=112, rate=size.rate, invalid=0, again=0), size.events // 3
    with Pipeline(tmp_path, faults_kind, workers=2, watcher=True, api=True, plants=plants) as pipeline:
        answers = _send(pipeline, once, count)
        with pipeline.client(OtherUser(**vars(once)), count) as client:
            client.wait_for(0.5)
            pipeline.kill("worker-1")
            pipeline.start("worker-1")
        client.join()
        eventually(lambda: pipeline.warehouse.query("SELECT count() AS n FROM conflicts")[0]["n"], within=120)
        pipeline.kill("watcher")
        pipeline.start("watcher")
        _send(pipeline, OtherBody(**vars(once)), count)
        pipeline.wait_drained()
        kinds = eventually(
            lambda: _kinds(pipeline), lambda found: found == {"user": count, "body": count}, within=_patience(size)
        )
        oracle = Oracle(pipeline.warehouse)
        found = oracle.check(once, answers, patience=_patience(size))
        told = eventually(
            lambda: pipeline.ask_api("pipeline", start="-7d")["conflicts"], lambda n: n == 2 * count, within=60
        )
    record(
        other_user=kinds["user"],
        other_body=kinds["body"],
        told_by_the_api=told,
        events=found.stored,
        lost=found.lost,
        doubled=found.doubled,
    )


def _patience(size: Size) -> float:
    return 1200.0 if size.full else 150.0


def _send(pipeline: Pipeline, traffic: Traffic, count: int) -> Answers:
    with pipeline.client(traffic, count) as client:
        pass
    return client.join()


def _kinds(pipeline: Pipeline) -> Counter[str]:
    """How many ids stand in conflict, by what is other."""
    rows = pipeline.warehouse.query(
        "SELECT toString(kind) AS kind, uniqExact(event_id) AS n FROM conflicts FINAL"
        " WHERE tenant = 'demo' AND kind != 'copy' AND (settled OR NOT moved) GROUP BY kind"
    )
    return Counter({row["kind"]: int(row["n"]) for row in rows})
