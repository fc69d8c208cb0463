"""Topics, lag and groups, on each kind of Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from deploy.embedded import broker
from deploy.embedded.process import free_port
from deploy.kafka_admin import create_topics, lag, partitions, stable_groups
from schemas.errors import Fatal, Retryable
from schemas.topics import EVENTS, Topic, topics
from tests.kafka_servers import KafkaServer

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("door")]


def test_topics_are_created_once_with_their_partitions(kafka: KafkaServer) -> None:
    assert set(create_topics(kafka.url, topics(4), replication=kafka.replication)) == {
        topic.name for topic in topics(4)
    }
    assert create_topics(kafka.url, topics(4), replication=kafka.replication) == []
    assert partitions(kafka.url, topics(4)) == {topic.name: topic.partitions for topic in topics(4)}


def test_another_number_of_partitions_is_refused(kafka: KafkaServer) -> None:
    create_topics(kafka.url, topics(4), replication=kafka.replication)
    with pytest.raises(Fatal, match="HEADRACE_KAFKA_PARTITIONS"):
        create_topics(kafka.url, topics(8), replication=kafka.replication)


def test_lag_counts_what_a_group_has_not_committed(kafka: KafkaServer) -> None:
    create_topics(kafka.url, [Topic("lagging", 2)], replication=kafka.replication)
    producer = Producer({"bootstrap.servers": kafka.url})
    for i in range(10):
        producer.produce("lagging", b"x", partition=i % 2)
    assert producer.flush(10) == 0
    assert lag(kafka.url, "group", ["lagging", "nowhere"]) == {"lagging": 10}
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.url,
            "group.id": "group",
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
        }
    )
    consumer.subscribe(["lagging"])
    seen = 0
    while seen < 10:
        message = consumer.poll(10)
        assert message is not None and message.error() is None
        seen += 1
    consumer.commit(asynchronous=False)
    assert stable_groups(kafka.url, ["group", "none"]) == {"group"}
    consumer.close()
    assert lag(kafka.url, "group", ["lagging"]) == {"lagging": 0}


def test_an_absent_broker_is_a_passing_fault() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    assert partitions(nowhere, topics(1), timeout=0.3) is None
    with pytest.raises(Retryable, match="does not answer"):
        lag(nowhere, "group", [EVENTS], timeout=0.3)
    with pytest.raises(Retryable, match="does not answer"):
        create_topics(nowhere, topics(1), timeout=0.1)
    assert not broker.answers(int(nowhere.rsplit(":", 1)[1]))


def test_a_binary_that_may_not_run_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker.os, "access", lambda *_: False)
    copy = broker.binary(tmp_path / "cache")
    assert copy.parent == tmp_path / "cache"
    assert copy.stat().st_mode & 0o111
