"""One poison record in a hundred, straight in Kafka: each becomes one dead letter, and costs nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.reasons import Reason
from schemas.topics import EVENTS
from schemas.wire import ChunkCount, encode_counts
from stream_processors.ports import Record as Message
from tests.e2e.doors import eventually
from tests.faults.client import Client
from tests.faults.oracle import Oracle
from tests.faults.pipeline import Pipeline
from tests.faults.sizes import Record, Size
from tests.faults.traffic import Traffic
from tests.integration.servers import produce

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]


@pytest.mark.sizes(short=Size(events=1_000, rate=250), full=Size(events=100_000, rate=700))
def test_poison(size: Size, faults_kind: str, record: Record, tmp_path: Path, plants: dict[str, str]) -> None:
    """`events`: records in all, each of one event or one poison."""
    poison = size.events // 100
    traffic = Traffic(seed=501, rate=size.rate, again=0.0)
    with Pipeline(tmp_path, faults_kind, plants=plants) as pipeline:
        life = pipeline.processes["worker-1"].pid
        with pipeline.client(traffic, size.events - poison, batch=1, threads=4) as client:
            _poison(pipeline, client, poison)
        answers = client.join()
        pipeline.wait_drained()
        found = Oracle(pipeline.warehouse).check(traffic, answers)
        letters = eventually(lambda: _letters(pipeline), lambda n: n >= poison, within=60)
        assert letters == poison, f"{letters} dead letters of {poison} poison records"
        pipeline.processes["worker-1"].check()
        assert pipeline.processes["worker-1"].pid == life, "the worker was started again"
    record(poison=poison, dead_letters=letters, events=found.stored, lost=found.lost, doubled=found.doubled)


def _poison(pipeline: Pipeline, client: Client, count: int) -> None:
    """Spread over the client's time, on every partition."""
    kafka, messages = pipeline.settings.kafka, _messages(pipeline.settings.kafka.partitions)
    sent, deadline = 0, time.monotonic() + 1200
    while sent < count and time.monotonic() < deadline:
        due = count if not client.sending else int(count * client.done / max(1, client.count))
        if due > sent:
            produce(kafka.bootstrap, EVENTS, [next(messages) for _ in range(due - sent)])
            sent = due
        time.sleep(0.05)


def _messages(partitions: int) -> Iterator[Message]:
    """Garbage of several kinds in turn; each has one line at most, so that each is one dead letter."""
    number = 0
    one = encode_counts([ChunkCount("demo", 1_763_712_000, "", 1)])
    while True:
        number += 1
        headers = {"chunk": str(number << 20).encode(), "counts": one}
        value, more = (
            (b"\x00\xff" * 50, {}),
            (b"no chunk, and no headers", {}),
            (b'{"tenant":"demo","event_id":"cut off in the mid', headers),
            (json.dumps({"tenant": "demo", "event_id": 7}).encode() + b"\n", headers),
            (b"", {"chunk": b"seven", "counts": b"[["}),
        )[number % 5]
        yield Message(number % partitions, 0, value, more)


def _letters(pipeline: Pipeline) -> int:
    sql = "SELECT count() AS n FROM rejected_events FINAL WHERE reason = {reason:String}"
    return int(pipeline.warehouse.query(sql, {"reason": str(Reason.UNREADABLE_CHUNK)})[0]["n"])
