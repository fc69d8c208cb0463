"""Questions to Kafka while coordinators and leaders move."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from deploy.kafka_admin import committed, ends
from schemas.clock import ManualClock

PLACES = [TopicPartition("events", 0)]


class Moving:
    """A consumer of an empty partition, whose broker refuses the first questions."""

    def __init__(self, code: int, refusals: int) -> None:
        self._code, self._left = code, refusals

    def _answer(self, found: Any) -> Any:
        self._left -= 1
        if self._left >= 0:
            raise KafkaException(KafkaError(self._code))
        return found

    def committed(self, places: list[TopicPartition], timeout: float) -> Any:
        return self._answer(places)

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> Any:
        return self._answer((7, 7))

    def assign(self, places: list[TopicPartition]) -> None:
        assert not places, "nothing to fetch of an empty partition"


@pytest.mark.parametrize("code", [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.COORDINATOR_LOAD_IN_PROGRESS])
def test_who_is_on_the_way_is_asked_again(code: int) -> None:
    clock = ManualClock(0)
    assert committed(Moving(code, 3), PLACES, 5.0, clock) == PLACES
    assert ends(Moving(code, 3), PLACES, 5.0, clock) == {("events", 0): (7, 7)}


@pytest.mark.parametrize("ask", [committed, ends])
def test_it_is_not_asked_for_ever_and_not_after_other_errors(ask: Any) -> None:
    clock = ManualClock(0)
    with pytest.raises(KafkaException):
        ask(Moving(KafkaError.NOT_LEADER_FOR_PARTITION, 1000), PLACES, 5.0, clock)
    assert 5.0 <= clock.monotonic() < 6.0
    with pytest.raises(KafkaException):
        ask(Moving(KafkaError.TOPIC_AUTHORIZATION_FAILED, 1), PLACES, 5.0, clock)
    assert clock.monotonic() < 6.0
