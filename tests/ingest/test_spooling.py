"""A collector with a disk behind it: while Kafka is away it takes events all the same, and hands them over in order."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.collector import Collector
from ingest.gateway import Gateway
from ingest.health import Health
from ingest.metrics import CollectorMetrics
from ingest.settings import CollectorSettings, GatewaySettings, SpoolSettings
from ingest.spool.frames import SpoolRecord
from ingest.spool.outlet import SpoolingOutlet
from ingest.spool.reroute import reroute
from ingest.spool.store import Spool
from schemas.clock import SystemClock
from schemas.errors import Retryable
from schemas.keys import KeyStore
from schemas.ledger import watermarks
from schemas.topics import EVENTS, LEDGER, REJECTED
from schemas.wire import decode_counts, decode_events
from tests.ingest.support import PARTITIONS, FakeKafka, event, validators

FAST = {"deadline_seconds": 2.0, "away_seconds": 0.1, "probe_seconds": 0.02, "drain_seconds": 0.3}
Open = Callable[..., Gateway]


@pytest.fixture
async def open_gateway(tmp_path: Path, kafka: FakeKafka) -> AsyncIterator[Open]:
    opened: list[Gateway] = []

    def make(boot: int = 1, partitions: int = PARTITIONS, size: int = 64 << 20) -> Gateway:
        clock, metrics, limits = SystemClock(), CollectorMetrics(), GatewaySettings(**FAST)
        spool = Spool(tmp_path / "spool", SpoolSettings(bytes=size, segment_bytes=1 << 16), clock)
        outlet = SpoolingOutlet(kafka, clock, limits, metrics, partitions, spool)
        gateway = Gateway(validators(), kafka, clock, partitions, boot, settings=limits, metrics=metrics, outlet=outlet)
        gateway.start()
        opened.append(gateway)
        return gateway

    yield make
    kafka.mode = "ok"
    for gateway in opened:
        if not gateway._closing:
            await gateway.close()


async def submit(gateway: Gateway, *events: object) -> Any:
    return await gateway.submit("acme", "marketing", "key", events)


def some(name: str, user: str = "ann") -> dict[str, Any]:
    return event(event_id=name, user_id=user, timestamp=round(time.time(), 3))


def spool_of(gateway: Gateway) -> Spool:
    assert isinstance(gateway.outlet, SpoolingOutlet)
    return gateway.outlet.spool


async def eventually(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def stored(kafka: FakeKafka) -> list[str]:
    """Ids in the order of their first arrival."""
    return list(dict.fromkeys(line.event_id for line in kafka.events()))


@pytest.mark.parametrize("mode", ["silent", "error"])
async def test_events_are_taken_while_kafka_is_away_and_come_in_order(
    open_gateway: Open, kafka: FakeKafka, mode: str
) -> None:
    gateway = open_gateway()
    await submit(gateway, some("000"), some("bad", user=""))
    kafka.mode = mode
    for number in range(1, 40):
        assert (await submit(gateway, some(f"{number:03}"), 5)).accepted == 1
    assert gateway.outlet.spooling
    assert stored(kafka) == ["000"]
    sending = asyncio.create_task(_send(gateway, range(40, 200)))
    await asyncio.sleep(0.05)
    kafka.mode = "ok"
    await sending
    await eventually(lambda: not gateway.outlet.spooling)
    await submit(gateway, some("200"))
    assert stored(kafka) == [f"{number:03}" for number in range(201)]
    assert spool_of(gateway).chunks == 0
    await gateway.close()
    rejected = {(line.chunk, line.index) for line in kafka.rejected()}
    assert len(rejected) == 40
    assert received(kafka) == 201 + 40


def received(kafka: FakeKafka) -> int:
    newest = {line.minute: line.n for line in kafka.ledger() if line.stage == "received"}
    return sum(newest.values())


async def _send(gateway: Gateway, some_numbers: range) -> None:
    for number in some_numbers:
        await submit(gateway, some(f"{number:03}"))
        await asyncio.sleep(0.001)


async def test_a_chunk_that_comes_twice_keeps_its_number(open_gateway: Open, kafka: FakeKafka) -> None:
    """Kafka has it and did not say so: the spool sends it again under the same id, which counts once downstream."""
    gateway = open_gateway()
    kafka.mode = "silent"
    taken = asyncio.create_task(submit(gateway, some("one")))
    await asyncio.sleep(0.02)
    kafka.records += [sent for sent, _ in kafka.waiting]
    await taken
    kafka.mode = "ok"
    await eventually(lambda: not gateway.outlet.spooling)
    assert [r.headers["chunk"] for r in kafka.chunks(EVENTS)] == [kafka.chunks(EVENTS)[0].headers["chunk"]] * 2


async def test_the_next_process_drains_what_is_left_before_its_own(open_gateway: Open, kafka: FakeKafka) -> None:
    first = open_gateway(boot=1)
    kafka.mode = "silent"
    await _send(first, range(30))
    await first.close()
    assert spool_of(first).chunks
    second = open_gateway(boot=2)
    assert second.outlet.spooling
    await _send(second, range(30, 40))
    kafka.mode = "ok"
    await eventually(lambda: not second.outlet.spooling)
    assert stored(kafka) == [f"{number:03}" for number in range(40)]


async def test_kafka_may_go_and_come_as_often_as_it_likes(open_gateway: Open, kafka: FakeKafka) -> None:
    gateway, rng = open_gateway(), random.Random(5)
    users = [f"user-{n}" for n in range(9)]
    wanted: dict[str, list[str]] = {user: [] for user in users}

    async def send(user: str) -> None:
        for number in range(60):
            name = f"{user}/{number}"
            await submit(gateway, some(name, user))
            wanted[user].append(name)
            await asyncio.sleep(rng.random() * 0.01)

    async def break_it() -> None:
        while True:
            kafka.mode = rng.choice(("silent", "error", "ok", "ok"))
            await asyncio.sleep(rng.random() * 0.25)

    breaking = asyncio.create_task(break_it())
    await asyncio.gather(*map(send, users))
    breaking.cancel()
    kafka.mode = "ok"
    await eventually(lambda: not gateway.outlet.spooling)
    await gateway.close()
    found: dict[str, list[str]] = {user: [] for user in users}
    for line in kafka.events():
        if line.event_id not in found[line.user_id]:
            found[line.user_id].append(line.event_id)
    assert found == wanted
    assert received(kafka) == 9 * 60


async def test_a_full_spool_is_a_clean_refusal_and_passes(open_gateway: Open, kafka: FakeKafka) -> None:
    gateway = open_gateway(size=1 << 20)
    kafka.mode = "silent"
    taken, large = 0, "x" * 900
    with pytest.raises(Retryable, match="the spool is full"):
        for _ in range(200):
            answer = await submit(gateway, *(some(f"{taken + n}") | {"context": {"note": large}} for n in range(20)))
            taken += answer.accepted
    with pytest.raises(Retryable, match="the spool is full"):
        gateway.refuse_early()
    kafka.mode = "ok"
    await eventually(lambda: not gateway.outlet.spooling)
    await submit(gateway, some("after"))
    ids = Counter(line.event_id for line in kafka.events())
    assert {str(n) for n in range(taken)} | {"after"} <= ids.keys()


async def test_readiness_and_metrics_say_that_it_is_spooling(open_gateway: Open, kafka: FakeKafka) -> None:
    gateway = open_gateway()
    clock = SystemClock()
    collector = Collector(CollectorSettings(), KeyStore(None, clock, dev_keys=True), gateway, kafka)
    health = Health(collector, clock)
    kafka.mode = "silent"
    await submit(gateway, some("one"))
    ready = await health.ready(None)  # type: ignore[arg-type]
    said = json.loads(ready.body)
    assert (ready.status, said["status"], said["spooled_chunks"]) == (200, "spooling", 1)
    text = gateway.metrics.text().decode()
    assert "headrace_collector_spool_chunks 1.0" in text
    assert "headrace_collector_spool_chunks_written_total 1.0" in text
    assert "headrace_collector_kafka_away 1.0" in text
    kafka.mode = "ok"
    await eventually(lambda: not gateway.outlet.spooling)
    assert "headrace_collector_spool_chunks_drained_total 1.0" in gateway.metrics.text().decode()
    assert json.loads((await health.ready(None)).body) == {"status": "ready"}  # type: ignore[arg-type]


async def test_users_go_to_their_partitions_when_there_are_more_of_them(open_gateway: Open, kafka: FakeKafka) -> None:
    gateway = open_gateway(partitions=4)
    kafka.mode = "silent"
    for start in range(0, 200, 20):
        await submit(gateway, *(some(f"{n:03}", f"user-{n % 23}") for n in range(start, start + 20)), 5)
    await gateway.close()
    again = open_gateway(boot=2, partitions=4)
    kafka.mode = "ok"
    await eventually(lambda: not again.outlet.spooling)
    assert again.partitions == PARTITIONS
    await submit(again, some("200", "user-0"))
    by_user: dict[str, list[str]] = {}
    for chunk in kafka.chunks(EVENTS):
        lines = [json.loads(line) for line in chunk.value.splitlines()]
        assert {line["slot"] % PARTITIONS for line in lines} == {chunk.partition}
        assert {line["chunk"] for line in lines} == {int(chunk.headers["chunk"])}
        assert sum(count.n for count in decode_counts(chunk.headers["counts"])) == len(lines)
        for line in lines:
            by_user.setdefault(line["user_id"], []).append(line["event_id"])
    assert all(ids == sorted(ids) for ids in by_user.values())
    assert sum(map(len, by_user.values())) == 201
    marks = watermarks((line.stage, line.origin, line.n) for line in kafka.ledger("watermark"))
    cut = {int(chunk.headers["chunk"]) >> 32 for chunk in kafka.chunks(EVENTS)} - {1, 2}
    assert cut <= {boot for boot, n in marks.items() if n >= 2**32 - 1}
    assert kafka.chunks(REJECTED)


async def test_counts_do_not_pile_up_in_the_producer(open_gateway: Open, kafka: FakeKafka) -> None:
    gateway = open_gateway()
    kafka.mode = "silent"
    for number in range(10):
        await submit(gateway, some(str(number)))
        gateway._courier._publish_counts()
    assert [sent.topic for sent, _ in kafka.waiting] in ([], [LEDGER])
    kafka.mode = "ok"
    await eventually(lambda: not gateway.outlet.spooling)
    await gateway.close()
    assert received(kafka) == 10


async def test_a_cut_chunk_has_the_same_parts_each_time(open_gateway: Open, kafka: FakeKafka) -> None:
    gateway = open_gateway(partitions=2)
    kafka.known_partitions = 2
    await submit(gateway, *(some(str(n), f"user-{n}") for n in range(50)))
    (one, *_) = kafka.chunks(EVENTS)
    whole = SpoolRecord(one.topic, one.partition, 2, 0.0, list(one.headers.items()), one.value)
    parts = reroute(whole, 6)
    assert parts == reroute(whole, 6)
    events = [part for part in parts if part.topic == EVENTS]
    assert [part.topic for part in parts] == [LEDGER, EVENTS] * len(events)
    numbers = [dict(part.headers)["chunk"] for part in events]
    assert len(set(numbers)) == len(events) == 3
    assert sorted(line.event_id for part in events for line in decode_events(part.value)) == sorted(
        line.event_id for line in decode_events(one.value)
    )
    assert reroute(whole, 2) == [whole]


async def test_what_is_on_its_way_at_the_end_is_spooled_and_answered(open_gateway: Open, kafka: FakeKafka) -> None:
    gateway = open_gateway()
    kafka.mode = "silent"
    taken = asyncio.create_task(submit(gateway, some("last")))
    await asyncio.sleep(0.01)
    await gateway.close()
    assert (await taken).accepted == 1
    again = open_gateway(boot=2)
    kafka.mode = "ok"
    await eventually(lambda: not again.outlet.spooling)
    assert "last" in stored(kafka)
