"""Chunks out of Kafka through the worker's own core, deduplication included, into a replay's database.

Reads: `headrace.events`, each partition from the first record of the span's time of receipt to the end that it had
when the replay began. The consumer joins no group and commits nothing. Writes: `events`, `ledger`, `windows`,
`user_state` of the replay's database. On failure: the replay's tables are left half full and are dropped.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final

import msgspec

from deploy.kafka_admin import ends, group_reader, offsets_at, places_of, read_from
from deploy.replay.request import Span
from deploy.replay.rollups import VirtualClock
from deploy.settings import Settings
from deploy.worker import WorkerSink
from schemas import topics
from schemas.clock import Clock
from schemas.errors import Retryable
from schemas.wire import COUNTS_HEADER, decode_counts
from sinks.suppressions import Spans, SuppressionBook
from sinks.warehouse import Warehouse
from sinks.writer import EventSink
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import Record
from stream_processors.sql import Roles
from stream_processors.worker import Worker, WorkerPorts

SKEW_SECONDS: Final = 301
"""Events may be this much ahead of their receipt."""

SETTLE_SECONDS: Final = 60.0
_TIMEOUT: Final = 15.0
_GROUP: Final = "headrace-replay"


class _Nowhere:
    """Window cells of a replay are told to nobody."""

    def emit(self, topic: str, value: bytes) -> None:
        return


class _ReadOnce:
    """Whose events the live workers dropped, as it stands when the replay begins."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _spans(self) -> Spans:
        return SuppressionBook(Warehouse(self._settings.warehouse)).spans()

    def spans(self) -> Spans:
        return self._spans


class KafkaReplay:
    """One replay. `run` blocks; `tell(done, total)` hears records."""

    def __init__(self, settings: Settings, shadow: Warehouse, roles: Mapping[str, Roles], clock: Clock) -> None:
        self._settings, self._shadow, self._roles, self._clock = settings, shadow, roles, clock
        self._suppressions = _ReadOnce(settings)
        self._workers: dict[int, tuple[Worker, VirtualClock]] = {}

    def run(self, span: Span, tell: Callable[[int, int], None]) -> None:
        """Read, process, store, flush. Raises `Retryable` when Kafka or the warehouse is away."""
        done = 0
        with group_reader(
            self._settings.kafka.bootstrap, _GROUP, auto_offset_reset="earliest", fetch_message_max_bytes=8 << 20
        ) as consumer:
            spans = self._spans(consumer, span)
            total = sum(last - first for first, last in spans.values())
            for partition, records in self._batches(consumer, spans):
                self._take(partition, records)
                done += len(records)
                tell(done, total)
        for worker, clock in self._workers.values():
            _settle(worker, clock)

    def _spans(self, consumer: Any, span: Span) -> dict[int, tuple[int, int]]:
        """By partition, the first offset to read and the one to stop before."""
        places = places_of(consumer, (topics.EVENTS,), _TIMEOUT)
        limits = {number: limit for (_, number), limit in ends(consumer, places, _TIMEOUT, self._clock).items()}
        if span.start <= 0:
            return limits
        found = {}
        since = max(0.0, span.start - SKEW_SECONDS)
        for (_, number), offset in offsets_at(consumer, places, since, _TIMEOUT).items():
            low, high = limits[number]
            found[number] = (high if offset < 0 else min(max(offset, low), high)), high
        return found

    def _batches(self, consumer: Any, spans: Mapping[int, tuple[int, int]]) -> Iterator[tuple[int, list[Record]]]:
        """Records of one partition at a time, in order, as many as a worker takes at once."""
        most = self._settings.worker.take_chunks
        for partition, (first, end) in sorted(spans.items()):
            if first >= end:
                continue
            read_from(consumer, {(topics.EVENTS, partition): first})
            reached = first
            heard = self._clock.monotonic()
            while reached < end:
                messages = [one for one in consumer.consume(most, timeout=0.2) if one.error() is None]
                records = [_record(one) for one in messages if one.offset() < end]
                if messages:
                    heard = self._clock.monotonic()
                    reached = messages[-1].offset() + 1
                elif self._clock.monotonic() - heard > _TIMEOUT:
                    raise Retryable(f"Kafka gives nothing of partition {partition} from offset {reached} on")
                if records:
                    yield partition, records
            consumer.unassign()

    def _take(self, partition: int, records: list[Record]) -> None:
        worker, clock = self._workers.get(partition) or self._new_worker(partition)
        clock.advance_to(max((_received(record) for record in records), default=0.0))
        worker.handle_events(records)()
        worker.flush()

    def _new_worker(self, partition: int) -> tuple[Worker, VirtualClock]:
        clock = VirtualClock(0.0)
        sink = WorkerSink(EventSink(self._shadow, self._clock, random.Random(0), self._settings.writer))
        ports = WorkerPorts(self._shadow, self._shadow, sink, sink, _Nowhere(), clock, suppressions=self._suppressions)
        worker = Worker(self._settings.worker, self._roles, ports, WorkerMetrics("replay"))
        self._workers[partition] = worker, clock
        return worker, clock


def _settle(worker: Worker, clock: VirtualClock) -> None:
    """Flush until nothing waits."""
    while True:
        clock.sleep(SETTLE_SECONDS)
        worker.flush(everything=True)
        if all(state.windows.stale_since() is None for state in worker.processor.states.values()):
            return


def _record(message: Any) -> Record:
    return Record(message.partition(), message.offset(), message.value() or b"", dict(message.headers() or ()))


def _received(record: Record) -> float:
    """The end of the last minute of receipt that a chunk declares; 0 for what is no chunk."""
    try:
        return max((count.minute + 60.0 for count in decode_counts(record.headers[COUNTS_HEADER])), default=0.0)
    except (KeyError, msgspec.DecodeError):
        return 0.0
