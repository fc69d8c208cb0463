"""A round may be called final only when everything that it counts is stored."""

from __future__ import annotations

import random
import time

import confluent_kafka
import pytest

from deploy.barrier import ON_THE_WAY_SECONDS, StoredUntil
from deploy.kafka_admin import create_topics
from schemas.clock import SystemClock
from schemas.errors import Retryable
from schemas.topics import Topic
from tests.integration.servers import produce
from tests.kafka_servers import KafkaServer
from tests.support.chunks import random_event, record

pytestmark = pytest.mark.integration

TOPIC = "barrier"
GROUP = "barred"


def test_it_waits_for_what_was_there_when_it_was_asked(kafka: KafkaServer) -> None:
    create_topics(kafka.url, [Topic(TOPIC, 2)], replication=kafka.replication)
    stored = StoredUntil(kafka.url, GROUP, (TOPIC,), SystemClock(), wait=1.0)
    assert abs(stored() - (time.time() - ON_THE_WAY_SECONDS)) < 60, "there is nothing to wait for"
    line = random_event(random.Random(1), 1)
    produce(kafka.url, TOPIC, [record([line], 0, number, number) for number in range(3)])
    with pytest.raises(Retryable, match="3 chunks behind"):
        stored()
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": kafka.url, "group.id": GROUP, "enable.auto.commit": False}
    )
    consumer.commit(offsets=[confluent_kafka.TopicPartition(TOPIC, 0, 3)], asynchronous=False)
    consumer.close()
    before = time.time()
    assert stored() >= before - ON_THE_WAY_SECONDS
