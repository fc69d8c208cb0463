"""How many events wait in Kafka for the workers.

Kafka counts records, and a record is a chunk of one to hundreds of events. How many they are stands in the header of
each, so the first, the last and one in the middle of what waits in a partition are looked into; with few that wait this
is exact. Stateless: every look has a consumer of its own, that joins no group and commits nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from deploy.kafka_admin import committed, ends
from schemas.clock import Clock
from schemas.errors import Retryable
from schemas.wire import COUNTS_HEADER, decode_counts
from stream_processors.ports import Waiting

LOOKS: Final = 3
"""Chunks that are looked into, of each partition where any wait."""

Place = tuple[str, int]
Span = tuple[int, int]
"""The first offset that is not acknowledged, and the next that will be written."""


class KafkaLag:
    """`LagPort`: what `group` has not acknowledged of `names`. `timeout`: seconds for each question."""

    def __init__(self, bootstrap: str, group: str, names: Sequence[str], clock: Clock, timeout: float = 5.0) -> None:
        self._bootstrap, self._names, self._clock, self._timeout = bootstrap, names, clock, timeout
        self._settings = {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": 1024,  # one batch, whatever its size
            "queued.min.messages": 1,
            # Go on to the next place at once: else one look takes seconds.
            "fetch.wait.max.ms": 20,
            "fetch.queue.backoff.ms": 0,
            "log_level": 0,
        }

    def waiting(self) -> Mapping[str, Waiting]:
        """See `LagPort`."""
        from confluent_kafka import Consumer, KafkaException

        consumer = Consumer(self._settings)
        try:
            spans = self._spans(consumer)
            sizes = self._sizes(consumer, spans)
        except KafkaException as error:
            raise Retryable(f"Kafka at {self._bootstrap} does not answer: {error.args[0].str()}") from error
        finally:
            consumer.close()
        found = dict.fromkeys((topic for topic, _ in spans), Waiting(0, 0, 0))
        for (topic, number), (first, end) in spans.items():
            found[topic] = _plus(found[topic], end - first, sizes.get((topic, number), []))
        return found

    def _spans(self, consumer: Any) -> dict[Place, Span]:
        from confluent_kafka import TopicPartition

        existing = consumer.list_topics(timeout=self._timeout).topics
        places = [TopicPartition(t, number) for t in self._names if t in existing for number in existing[t].partitions]
        if not places:
            return {}
        taken = committed(consumer, places, self._timeout, self._clock)
        limits = ends(consumer, places, self._timeout, self._clock)
        found = {}
        for place in taken:
            low, high = limits[place.topic, place.partition]
            first = max(place.offset, low)
            found[place.topic, place.partition] = first, max(first, high)
        return found

    def _sizes(self, consumer: Any, spans: Mapping[Place, Span]) -> dict[Place, list[int]]:
        """Events in some of the chunks that wait, by partition."""
        found: dict[Place, list[int]] = {}
        for number in range(LOOKS):
            offsets = {place: some[number] for place, span in spans.items() if len(some := _some(span)) > number}
            for place, size in self._fetch(consumer, offsets).items():
                found.setdefault(place, []).append(size)
        return found

    def _fetch(self, consumer: Any, offsets: Mapping[Place, int]) -> dict[Place, int]:
        """Events in the chunk at each offset. Of one that is gone by now, the next."""
        from confluent_kafka import TopicPartition

        if not offsets:
            return {}
        consumer.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])
        found: dict[Place, int] = {}
        deadline = self._clock.monotonic() + self._timeout
        while len(found) < len(offsets):
            message = consumer.poll(0.05)
            if message is not None and message.error() is None:
                found.setdefault((message.topic(), message.partition()), _events_in(message))
            if self._clock.monotonic() > deadline:
                raise Retryable("Kafka does not give the chunks that wait")
        consumer.unassign()
        return found


def _some(span: Span) -> list[int]:
    """Up to `LOOKS` offsets of a span, evenly over it."""
    first, end = span
    return sorted({first + (end - first - 1) * step // (LOOKS - 1) for step in range(LOOKS)}) if end > first else []


def _events_in(message: Any) -> int:
    """1 where the header is missing or unreadable: it is one thing to look at, whatever it is."""
    header = dict(message.headers() or ()).get(COUNTS_HEADER)
    try:
        return sum(count.n for count in decode_counts(header)) if header else 1
    except msgspec.DecodeError:
        return 1


def _plus(sum_: Waiting, chunks: int, sizes: Sequence[int]) -> Waiting:
    events = round(chunks * sum(sizes) / len(sizes)) if sizes else 0
    return Waiting(sum_.chunks + chunks, sum_.events + events, sum_.looked_into + len(sizes))
