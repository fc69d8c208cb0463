"""The way out: chunks to Kafka, and a circuit breaker that knows when Kafka takes none.

Guarantee: `delivered("")` means that Kafka acknowledged the chunk. On failure `delivered` says why; the chunk may still
have been stored. While the circuit is open requests are refused at once, and Kafka is asked in the background until it
answers. `ingest.spool.outlet` is the same with a disk behind it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NamedTuple

from ingest.circuit import Circuit
from ingest.metrics import CollectorMetrics
from ingest.producer import ChunkProducer, Delivered
from ingest.refusals import Unavailable
from ingest.settings import GatewaySettings
from ingest.spool.frames import SpoolRecord
from schemas.clock import Clock
from schemas.errors import Retryable
from schemas.topics import EVENTS, LEDGER

_ASK_SECONDS: Final = 2.0
_log = logging.getLogger(__name__)


class Sent(NamedTuple):
    """A chunk on its way. `record` has no value where nobody could send it again. `at`: monotonic seconds."""

    record: SpoolRecord
    delivered: Delivered
    at: float


class Outlet:
    """Belongs to one event loop. `partitions`: of the event topics, as Kafka said when it was last asked.

    `answers`: whether it answered then.
    """

    keeps_values = False

    def __init__(
        self,
        producer: ChunkProducer,
        clock: Clock,
        settings: GatewaySettings,
        metrics: CollectorMetrics,
        partitions: int,
    ) -> None:
        self.partitions = partitions
        self.answers = True
        self._producer, self._clock, self._settings, self._metrics = producer, clock, settings, metrics
        self._circuit = Circuit(settings.away_seconds, settings.deadline_seconds)
        self._number = 0
        self._sent: dict[int, Sent] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the work in the background, on the running event loop. May be called again."""

    @property
    def problem(self) -> str:
        """Why requests are refused at this moment; "" when they are not."""
        now = self._clock.monotonic()
        return (
            f"Kafka has taken nothing for {self._circuit.silent_for(now):.0f} s" if self._circuit.refuses(now) else ""
        )

    @property
    def spooling(self) -> bool:
        """Whether chunks go to a disk instead of to Kafka."""
        return False

    def waiting(self) -> dict[str, int]:
        """What is on the disk, for people who ask."""
        return {}

    def refuse(self) -> None:
        """Raises Unavailable when a request would wait in vain."""
        if problem := self.problem:
            silent = self._circuit.silent_for(self._clock.monotonic())
            raise Unavailable(f"{problem}; send the same events again later", silent)

    def admit(self) -> None:
        """As `refuse`, for a request that is sent now: one at a time is let through to see whether Kafka takes it."""
        self.refuse()
        self._circuit.admit(self._clock.monotonic())

    def produce(
        self, topic: str, partition: int, value: bytes, headers: list[tuple[str, bytes]], delivered: Delivered
    ) -> None:
        """Hand a record over; see `ChunkProducer`."""
        self._send(SpoolRecord(topic, partition, self.partitions, self._clock.now(), headers, value), delivered)

    def poll(self) -> None:
        """Run the callbacks that are due, and look whether Kafka still takes chunks."""
        self._producer.poll()
        if self._is_stuck():
            self._note_failure()

    async def ask(self) -> int:
        """Partitions of the event topic; 0 when Kafka does not answer, or has no such topic."""
        try:
            found = await asyncio.to_thread(self._producer.partitions, EVENTS, _ASK_SECONDS)
        except Retryable:
            found = 0
        self.answers = bool(found)
        if found and found != self.partitions:
            _log.warning("topic %s has %d partitions, not %d; taking that", EVENTS, found, self.partitions)
            self.partitions = found
        return found

    async def drained(self) -> None:
        """Return when nothing but what was handed over last is still to be delivered."""

    async def close(self) -> None:
        """End the work in the background."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _send(self, record: SpoolRecord, delivered: Delivered) -> None:
        number, now = self._number, self._clock.monotonic()
        self._number += 1
        if record.topic == LEDGER:  # comes again by itself, so nobody waits for it
            self._producer.produce(record.topic, record.partition, record.value, record.headers, delivered)
            return
        kept = record if self.keeps_values else record._replace(value=b"")
        self._sent[number] = Sent(kept, delivered, now)
        self._circuit.sent(now)

        def report(error: str) -> None:
            sent = self._sent.pop(number, None)
            if sent is None:
                return
            if error:
                self._note_failure()
                self._lost(number, sent, error)
            else:
                self._note_delivery()
                delivered("")

        try:
            self._producer.produce(record.topic, record.partition, record.value, record.headers, report)
        except Retryable:
            del self._sent[number]
            raise

    def _lost(self, number: int, sent: Sent, error: str) -> None:
        """Kafka did not take a chunk."""
        sent.delivered(error)

    def _is_stuck(self) -> bool:
        """Whether a chunk has been on its way for too long."""
        oldest = next(iter(self._sent.values()), None)
        return oldest is not None and self._clock.monotonic() - oldest.at >= self._settings.away_seconds

    def _note_delivery(self) -> None:
        if self._circuit.delivered(self._clock.monotonic(), more=bool(self._sent)):
            _log.info("Kafka takes chunks again")

    def _note_failure(self) -> None:
        now = self._clock.monotonic()
        if self._circuit.failed(now):
            _log.error("Kafka has taken nothing for %.1f s", self._circuit.silent_for(now))
            self._opened()

    def _opened(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._probe())

    async def _probe(self) -> None:
        while self._circuit.open:
            await asyncio.sleep(self._settings.probe_seconds)
            if await self.ask():
                self._circuit.answered()
