"""The collector over each kind of Kafka, and over one that is not there."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded.process import free_port
from deploy.kafka_admin import create_topics
from ingest.gateway import Gateway
from ingest.producer import KafkaProducer
from ingest.settings import GatewaySettings, ProducerSettings
from schemas.clock import SystemClock
from schemas.errors import Retryable
from schemas.topics import EVENTS, LEDGER, REJECTED, topics
from schemas.wire import decode_counts, decode_events
from tests.ingest.support import event, validators
from tests.kafka_servers import KafkaServer, open_kafka

PARTITIONS = 4


@pytest.fixture(scope="module")
def kafka(broker_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A Kafka with our topics."""
    server = open_kafka(broker_kind, tmp_path_factory.mktemp("kafka"))
    create_topics(server.url, topics(PARTITIONS), replication=server.replication)
    yield server
    server.close()


def gateway_to(servers: str, deadline: float = 4.0, compression: str = "lz4") -> Gateway:
    settings = GatewaySettings(deadline_seconds=deadline, drain_seconds=3)
    producer = KafkaProducer(servers, ProducerSettings(compression=compression), deadline)
    return Gateway(validators(), producer, SystemClock(), PARTITIONS, 9, settings=settings)


def read_all(servers: str, topic: str) -> list[tuple[int, bytes, dict[str, bytes]]]:
    """Every record of a topic: partition, value, headers."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test", "auto.offset.reset": "earliest"})
    partitions = consumer.list_topics(topic, timeout=5).topics[topic].partitions
    places = [TopicPartition(topic, number, 0) for number in partitions]
    total = sum(consumer.get_watermark_offsets(place, timeout=5)[1] for place in places)
    consumer.assign(places)
    found = []
    end = time.monotonic() + 20
    while len(found) < total and time.monotonic() < end:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            found.append((message.partition(), message.value(), dict(message.headers() or [])))
    consumer.close()
    return found


@pytest.mark.integration
@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
async def test_what_was_acknowledged_can_be_read_back(kafka: KafkaServer, compression: str) -> None:
    gateway = gateway_to(kafka.url, compression=compression)
    now = time.time()
    ids = {f"{compression}-{n}" for n in range(500)}
    events = [event(event_id=name, user_id=f"user-{name}", timestamp=now) for name in ids]
    bad = event(event_id=f"{compression}-bad", timestamp=now, source="toaster")
    answers = await asyncio.gather(
        *(gateway.submit("demo", "marketing", "key", events[start : start + 50]) for start in range(0, 500, 50)),
        gateway.submit("demo", "marketing", "key", [bad]),
    )
    await gateway.close()
    assert sum(answer.accepted for answer in answers) == 500
    stored = [
        (partition, line, headers)
        for partition, value, headers in read_all(kafka.url, EVENTS)
        for line in map(json.loads, value.splitlines())
    ]
    assert {line["event_id"] for _, line, _ in stored if line["event_id"].startswith(compression)} == ids
    assert all(partition == line["slot"] % PARTITIONS for partition, line, _ in stored)
    assert all(int(headers["chunk"]) == line["chunk"] for _, line, headers in stored)
    assert any(b"toaster" in value for _, value, _ in read_all(kafka.url, REJECTED))
    assert all(decode_counts(headers["counts"]) for _, _, headers in stored)
    assert read_all(kafka.url, LEDGER)


@pytest.mark.integration
async def test_the_partition_count_is_kafkas(kafka: KafkaServer) -> None:
    producer = KafkaProducer(kafka.url, ProducerSettings(), 4)
    assert producer.partitions(EVENTS, 5) == PARTITIONS
    assert producer.partitions("headrace.nonesuch", 5) == 0
    assert producer.close(1) == 0


async def test_a_broker_that_is_not_there_is_retryable_within_the_deadline() -> None:
    gateway = gateway_to(f"127.0.0.1:{free_port()}", deadline=0.3)
    started = time.monotonic()
    with pytest.raises(Retryable):
        await gateway.submit("demo", "marketing", "key", [event(timestamp=time.time())])
    assert time.monotonic() - started < 1
    await gateway.close()


def test_asking_a_broker_that_is_not_there_is_retryable() -> None:
    producer = KafkaProducer(f"127.0.0.1:{free_port()}", ProducerSettings(), 1)
    with pytest.raises(Retryable, match="not reachable"):
        producer.partitions(EVENTS, 0.2)


async def submit_until_taken(gateway: Gateway, event_id: str) -> None:
    """What a client does: send the same event again until it is taken."""
    end = time.monotonic() + 60
    while True:
        try:
            await gateway.submit("demo", "marketing", "key", [event(event_id=event_id, timestamp=time.time())])
            return
        except Retryable:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.3)


@pytest.mark.integration
async def test_the_collector_goes_on_when_the_broker_comes_back(broker_kind: str, tmp_path: Path) -> None:
    """Also when the broker forgot everything, its producers included, as one in memory does."""
    server = open_kafka(broker_kind, tmp_path)
    create_topics(server.url, topics(PARTITIONS), replication=server.replication)
    gateway = gateway_to(server.url, deadline=1.0)
    await submit_until_taken(gateway, "before")
    server.stop()
    with pytest.raises(Retryable):
        await gateway.submit("demo", "marketing", "key", [event(event_id="again", timestamp=time.time())])
    server.start()
    try:
        create_topics(server.url, topics(PARTITIONS), replication=server.replication)
        await submit_until_taken(gateway, "again")
        await gateway.close()
        stored = [line.event_id for _, value, _ in read_all(server.url, EVENTS) for line in decode_events(value)]
        assert set(stored) == ({"before", "again"} if server.durable else {"again"})
    finally:
        server.close()
