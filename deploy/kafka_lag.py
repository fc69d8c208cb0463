"""How many events wait in Kafka for the workers.

Kafka counts records, and a record is a chunk of one to hundreds of events. How many they are stands in the header of
each, so the first, the last and one in the middle of what waits in a partition are looked into; with few that wait this
is exact. Stateless: every look has a consumer of its own, that joins no group and commits nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from deploy.kafka_admin import committed, ends, group_reader, places_of, read_from
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
        self._group = group

    def waiting(self) -> Mapping[str, Waiting]:
        """See `LagPort`."""
        # Going on to the next place at once: with the defaults, one look takes seconds.
        fast = {"queued_min_messages": 1, "fetch_wait_max_ms": 20, "fetch_queue_backoff_ms": 0}
        with group_reader(self._bootstrap, self._group, auto_offset_reset="earliest", **fast) as consumer:
            spans = self._spans(consumer)
            sizes = self._sizes(consumer, spans)
        found = dict.fromkeys((topic for topic, _ in spans), Waiting(0, 0, 0))
        for (topic, number), (first, end) in spans.items():
            found[topic] = _plus(found[topic], end - first, sizes.get((topic, number), []))
        return found

    def spans(self) -> dict[Place, Span]:
        """Of each partition the first offset that is not acknowledged, and the end. Blocks; raises `Retryable`."""
        with group_reader(self._bootstrap, self._group, fetch_wait_max_ms=20) as consumer:
            return self._spans(consumer)

    def _spans(self, consumer: Any) -> dict[Place, Span]:
        places = places_of(consumer, self._names, self._timeout)
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
        if not offsets:
            return {}
        read_from(consumer, offsets)
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
