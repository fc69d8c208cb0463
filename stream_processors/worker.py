"""The worker: the handlers of the event path's topics, and the flush beside them.

Reads `headrace.events`, `headrace.rejected`, `headrace.ledger`. Writes `events`, `duplicates`, `rejected_events`,
`ledger` before the offset moves, `windows`, `user_state`, `checkpoints` and `headrace.rollups` within a second after.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec

from schemas import topics
from schemas.clock import Clock
from schemas.errors import Retryable
from schemas.flood import Flood
from schemas.wire import (
    CHUNK_HEADER,
    COUNTS_HEADER,
    EventLine,
    LedgerLine,
    RejectedLine,
    WindowCell,
    decode_counts,
    encode_lines,
)
from stream_processors.batch import Batch
from stream_processors.floods import Guards
from stream_processors.flush import Flusher
from stream_processors.metrics import WorkerMetrics
from stream_processors.poison import lost_counts, unreadable
from stream_processors.ports import EmitPort, Record, SinkPort, WarehousePort
from stream_processors.processor import Processor, describe_states
from stream_processors.recovery import Recovery
from stream_processors.routes import Background, Route, Store
from stream_processors.settings import ProcessorSettings
from stream_processors.sql import Roles
from stream_processors.suppression import Suppression, SuppressionPort

log = logging.getLogger("headrace.worker")
T = TypeVar("T")

_rejected_decoder = msgspec.json.Decoder(RejectedLine)


@dataclass(frozen=True)
class WorkerPorts:
    """What a worker is wired to. `flush_warehouse` is used from another thread than `warehouse`.

    `guards` stop it at a flood of bad messages; without them all become dead letters. `holds`: whether the partitions
    are ours for sure (`stream_processors.lease`); while not, nothing is flushed. `suppressions`: whose events are
    dropped; nobody's when not given.
    """

    warehouse: WarehousePort
    flush_warehouse: WarehousePort
    sink: SinkPort
    side_sink: SinkPort
    emit: EmitPort
    clock: Clock
    guards: Guards | None = None
    holds: Callable[[], bool] = lambda: True
    suppressions: SuppressionPort | None = None


class Worker:
    """Everything of one worker process but Kafka itself."""

    def __init__(
        self, settings: ProcessorSettings, roles: Mapping[str, Roles], ports: WorkerPorts, metrics: WorkerMetrics
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._metrics = metrics
        recovery = self._recovery(settings, roles, ports.warehouse, ports.clock)
        suppression = Suppression(ports.suppressions, ports.clock)
        self.processor = Processor(recovery, ports.clock, suppression=suppression)
        self._flusher = Flusher(
            self.processor,
            self._recovery(settings, roles, ports.flush_warehouse, ports.clock),
            ports.flush_warehouse,
            lambda lines: ports.emit.emit(topics.ROLLUPS, lines),
            ports.clock,
            user_seconds=settings.user_flush_seconds,
            holds=ports.holds,
        )

    def routes(self) -> tuple[Route, ...]:
        """The topics of the event path, each with its handler."""
        take, within = self._settings.take_chunks, self._settings.take_seconds
        return (
            Route(topics.EVENTS, self.handle_events, self.assign, take, within),
            Route(topics.REJECTED, self.handle_rejected, _nothing, take, within),
            Route(topics.LEDGER, self.handle_ledger, _nothing, take, within),
        )

    def background(self) -> tuple[Background, ...]:
        """The flush, once a second."""
        return (Background("flush", self._settings.flush_seconds, self.flush),)

    def handle_events(self, records: Sequence[Record]) -> Store:
        """Run records along the path; the store writes what they became."""
        batch = self._retry("process", lambda: self.processor.process(records))
        poison = {(partition, offset): why for partition, offset, why in batch.poison}
        whole = {(chunk.partition, chunk.offset): len(chunk.events) for chunk in batch.chunks}
        self._guard(topics.EVENTS, records, {**whole, **poison})
        bad = [record for record in records if (record.partition, record.offset) in poison]
        clock = self._ports.clock
        rejected = [unreadable(topics.EVENTS, one, clock, poison[one.partition, one.offset]) for one in bad]
        ledger = [*batch.ledger, *lost_counts(bad)]

        def store() -> None:
            refused = self._stopping_at_floods(
                lambda: self._ports.sink.write(batch.lines(), ledger, rejected, batch.duplicates())
            )
            self._emit_corrected(batch.corrected)
            self.processor.stored(batch)
            if refused:
                self._take_back(batch, refused)
            self._count(batch)

        return store

    def handle_rejected(self, records: Sequence[Record]) -> Store:
        """Dead letters: rows of `rejected_events`, counted in the ledger under their chunk."""
        rows: list[RejectedLine] = []
        ledger: list[LedgerLine] = []
        found: dict[tuple[int, int], int | str] = {}
        for record in records:
            place = record.partition, record.offset
            try:
                counts = decode_counts(record.headers[COUNTS_HEADER])
                number = int(record.headers[CHUNK_HEADER])
                lines = _rejected_decoder.decode_lines(record.value)
            except (KeyError, ValueError, msgspec.DecodeError) as error:
                found[place] = why = f"not a chunk of rejected events: {error}"
                rows.append(unreadable(topics.REJECTED, record, self._ports.clock, why))
                ledger += lost_counts([record])
                continue
            rows += lines
            found[place] = len(lines)
            ledger += [LedgerLine(c.tenant, c.minute, "rejected", c.reason, number, c.n, 1) for c in counts]
        self._guard(topics.REJECTED, records, found)

        def store() -> None:
            self._ports.side_sink.write(b"", ledger, rows)
            self._metrics.events("rejected", len(rows))

        return store

    def handle_ledger(self, records: Sequence[Record]) -> Store:
        """The collector's own counts, on to the ledger table as they are."""
        decoder = msgspec.json.Decoder(LedgerLine)
        lines: list[LedgerLine] = []
        for record in records:
            try:
                lines += decoder.decode_lines(record.value)
            except msgspec.DecodeError as error:
                log.error("ledger record at offset %d is unreadable, left out: %s", record.offset, error)

        def store() -> None:
            self._ports.side_sink.write(b"", lines, [])

        return store

    def assign(self, partitions: Sequence[int]) -> None:
        """Load the state of newly assigned partitions at once, so that recovery does not wait for their next event."""
        self._retry("assign", lambda: self.processor.assign(partitions))

    def flush(self, *, everything: bool = False) -> None:
        """One flush; a passing fault is logged and left for the next. `everything`: user states, too, at once."""
        try:
            self._flusher.flush(everything=everything)
        except Retryable as error:
            self._metrics.retried("flush")
            log.warning("flush put off: %s", error)
        self._metrics.state(describe_states(self.processor.states))

    def _guard(self, topic: str, records: Sequence[Record], found: Mapping[tuple[int, int], int | str]) -> None:
        guards = self._ports.guards
        if guards is not None:
            self._stopping_at_floods(lambda: guards.judge(topic, records, found))

    def _stopping_at_floods(self, call: Callable[[], T]) -> T:
        """Call; a flood is written down, so that somebody is paged, before it ends the process."""
        try:
            return call()
        except Flood as flood:
            if self._ports.guards is not None:
                self._retry("flood", partial(self._ports.guards.port.record, flood))
            raise

    def _take_back(self, batch: Batch, refused: Sequence[RejectedLine]) -> None:
        """Count without the events that the warehouse refused."""
        ids = {(line.tenant, line.event_id) for line in refused}
        found: dict[int, list[EventLine]] = {}
        for partition, tenant, events in batch.fresh():
            some = [event for event in events if (tenant, event.event_id) in ids]
            found.setdefault(partition, []).extend(some)
        self._emit_corrected(self._retry("take back", lambda: self.processor.take_back(found)))

    def _emit_corrected(self, cells: Sequence[WindowCell]) -> None:
        if cells:
            lines = encode_lines(cells)
            self._retry("emit", lambda: self._ports.emit.emit(topics.ROLLUPS, lines))

    def _retry(self, what: str, call: Callable[[], T]) -> T:
        wait = 0.1
        while True:
            try:
                return call()
            except Retryable as error:
                self._metrics.retried(what)
                log.warning("%s: %s; trying again in %.1f s", what, error, wait)
                self._ports.clock.sleep(wait)
                wait = min(wait * 2, 5.0)

    def _count(self, batch: Batch) -> None:
        stages = {"duplicate": 0, "late": 0, "accepted": 0, "suppressed": 0}
        for line in batch.ledger:
            stages[line.stage] += line.n
        self._metrics.events("stored", sum(len(chunk.fresh or ()) for chunk in batch.chunks))
        self._metrics.events("duplicate", stages["duplicate"])
        self._metrics.events("late", stages["late"])
        self._metrics.events("suppressed", stages["suppressed"])
        self._metrics.events("poison", len(batch.poison))

    @staticmethod
    def _recovery(
        settings: ProcessorSettings, roles: Mapping[str, Roles], warehouse: WarehousePort, clock: Clock
    ) -> Recovery:
        return Recovery(
            warehouse,
            roles,
            clock,
            partitions=settings.partitions,
            recent_ids=settings.recent_ids,
            users_in_memory=settings.users_in_memory,
            hot_minutes=settings.hot_minutes,
        )


def _nothing(_: Sequence[int]) -> None:
    """These topics keep no state."""
