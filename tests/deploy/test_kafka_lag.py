"""How many events wait in Kafka: chunks of different sizes, and what the group has acknowledged of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.embedded.process import free_port
from deploy.kafka_admin import create_topics, lag
from deploy.kafka_lag import KafkaLag, _some
from schemas.clock import SystemClock
from schemas.errors import Retryable
from schemas.topics import Topic
from schemas.wire import COUNTS_HEADER, ChunkCount, encode_counts
from stream_processors.ports import Waiting

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("door")]


class Kafka(Protocol):
    url: str


def produce(url: str, topic: str, sizes: Sequence[int], partition: int = 0) -> None:
    """A chunk of each size, in order; size 0 is a record without a header."""
    producer = Producer({"bootstrap.servers": url, "linger.ms": 0})
    for size in sizes:
        half = size // 2
        counts = encode_counts([ChunkCount("a", 60, "", half), ChunkCount("b", 60, "", size - half)])
        headers = [("chunk", b"1"), (COUNTS_HEADER, counts)] if size else []
        producer.produce(topic, b"x" * 5_000, partition=partition, headers=headers)
    assert producer.flush(20) == 0


def commit(url: str, group: str, topic: str, offset: int, partition: int = 0) -> None:
    consumer = Consumer({"bootstrap.servers": url, "group.id": group, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)
    consumer.close()


def waiting(url: str, group: str, *names: str) -> dict[str, Waiting]:
    return dict(KafkaLag(url, group, names, SystemClock()).waiting())


def test_events_that_wait_follow_from_the_headers_of_their_chunks(kafka: Kafka) -> None:
    create_topics(kafka.url, [Topic("waiting", 2), Topic("side", 1)])
    assert waiting(kafka.url, "w", "waiting", "side", "nowhere") == {
        "waiting": Waiting(0, 0, 0),
        "side": Waiting(0, 0, 0),
    }
    produce(kafka.url, "waiting", [10, 250, 40])
    produce(kafka.url, "waiting", [7], partition=1)
    produce(kafka.url, "side", [3, 0])
    found = waiting(kafka.url, "w", "waiting", "side")
    assert found == {"waiting": Waiting(4, 307, 4), "side": Waiting(2, 4, 2)}, "exact: every chunk was looked into"
    commit(kafka.url, "w", "waiting", 2)
    commit(kafka.url, "w", "waiting", 1, partition=1)
    assert waiting(kafka.url, "w", "waiting")["waiting"] == Waiting(1, 40, 1)
    commit(kafka.url, "w", "waiting", 3)
    assert waiting(kafka.url, "w", "waiting")["waiting"] == Waiting(0, 0, 0)


def test_many_chunks_are_estimated_by_what_waits_not_by_what_was(kafka: Kafka) -> None:
    """A backlog of large chunks behind a past of small ones."""
    create_topics(kafka.url, [Topic("backlog", 1)])
    produce(kafka.url, "backlog", [2] * 50)
    commit(kafka.url, "b", "backlog", 50)
    produce(kafka.url, "backlog", [400, 500, 600] * 100)
    chunks, events, looked_into = waiting(kafka.url, "b", "backlog")["backlog"]
    assert (chunks, looked_into) == (300, 3)
    assert 300 * 400 <= events <= 300 * 600


def test_asking_takes_nothing_away_from_the_group(kafka: Kafka) -> None:
    create_topics(kafka.url, [Topic("untouched", 1)])
    produce(kafka.url, "untouched", [5, 5, 5, 5, 5])
    commit(kafka.url, "u", "untouched", 1)
    for _ in range(3):
        assert waiting(kafka.url, "u", "untouched")["untouched"] == Waiting(4, 20, 3)
    assert lag(kafka.url, "u", ["untouched"]) == {"untouched": 4}


def test_a_kafka_that_is_away_is_a_passing_fault() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    with pytest.raises(Retryable, match="does not answer"):
        KafkaLag(nowhere, "g", ["t"], SystemClock(), timeout=0.3).waiting()


def test_looks_spread_evenly_over_what_waits() -> None:
    assert _some((10, 10)) == []
    assert _some((10, 11)) == [10]
    assert _some((10, 12)) == [10, 11]
    assert _some((10, 13)) == [10, 11, 12]
    assert _some((100, 201)) == [100, 150, 200]
