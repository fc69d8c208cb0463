"""The courier: lines in, chunks in Kafka, tickets resolved. It gathers, numbers, hands over, and counts what arrived.

A chunk has arrived when Kafka acknowledged it, or when it is in the spool (`ingest.outlet`).
Runs on one event loop; the outlet's callbacks run there too. Chunk ids are `boot << 32 | number`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ingest.gather import Chunk, Gatherer, Group, Ticket, size_of
from ingest.ledger import Received
from ingest.metrics import CollectorMetrics
from ingest.outlet import Outlet
from ingest.producer import ChunkProducer
from ingest.refusals import Overloaded
from ingest.settings import GatewaySettings
from schemas.clock import Clock
from schemas.errors import Retryable
from schemas.topics import LEDGER, REJECTED

_POLL_SECONDS = 0.001


class Courier:
    """Carries groups of lines to Kafka. `boot` (32 bits) names this incarnation of the process."""

    def __init__(
        self,
        producer: ChunkProducer,
        outlet: Outlet,
        clock: Clock,
        boot: int,
        settings: GatewaySettings,
        metrics: CollectorMetrics,
    ) -> None:
        self._producer, self._outlet, self._clock, self._boot = producer, outlet, clock, boot
        self._settings, self._metrics = settings, metrics
        self._gatherer = Gatherer(self._send, settings.chunk_events, settings.chunk_bytes)
        self._received = Received(boot)
        self._sequence = self._in_flight = self._bytes = 0
        self._flush_due = self._poll_due = False
        self._idle = asyncio.Event()
        self._ledger_task: asyncio.Task[None] | None = None

    async def carry(self, groups: Sequence[Group]) -> None:
        """Return when Kafka has all lines; raises Retryable when it does not take them before the deadline.

        Raises Overloaded, with nothing handed over, when they would not fit with what is waiting already.
        """
        self.start()
        self._make_room(groups)
        ticket = Ticket(asyncio.get_running_loop())
        for group in groups:
            self._gatherer.add(group, ticket)
        ticket.complete()
        self._schedule_flush()
        try:
            async with asyncio.timeout(self._settings.deadline_seconds):
                await ticket.done
        except TimeoutError as error:
            seconds = f"{self._settings.deadline_seconds:g} s"
            raise Retryable(f"Kafka did not acknowledge within {seconds}; send the same events again") from error

    def any_partition(self, partitions: int) -> int:
        """A partition for lines that may go anywhere; they take turns."""
        return self._sequence % partitions

    def start(self) -> None:
        """Begin the work in the background, on the running event loop. May be called again."""
        self._outlet.start()
        if self._ledger_task is None:
            self._ledger_task = asyncio.get_running_loop().create_task(self._publish_regularly())

    async def close(self) -> None:
        """Hand everything over and publish the last counts; gives up after `drain_seconds`."""
        if self._ledger_task is not None:
            self._ledger_task.cancel()
            self._ledger_task = None
        self._gatherer.flush()
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                await self._settle()
                self._publish_counts()
                await self._settle()
                await self._outlet.drained()
        except TimeoutError:
            self._publish_counts()
        await self._outlet.close()
        self._producer.close(1.0)

    def _make_room(self, groups: Sequence[Group]) -> None:
        """Hold what these lines need until their chunks have arrived. The outlet has room for all that is held."""
        limit = self._settings
        size = sum(size_of(group.lines) for group in groups)
        lines = sum(len(group.lines) for group in groups)
        chunks = len(groups) + size // limit.chunk_bytes + lines // limit.chunk_events
        if self._in_flight + chunks > limit.pending_chunks:
            raise Overloaded(f"{self._in_flight} chunks are waiting for Kafka; come back in a moment")
        if self._bytes + size > limit.pending_bytes:
            raise Overloaded(f"{self._bytes} bytes are waiting for Kafka; come back in a moment")
        self._bytes += size

    def _schedule_flush(self) -> None:
        """Nothing on the way: send at the end of this turn of the loop. Else gather for a few milliseconds."""
        if self._flush_due or not self._gatherer:
            return
        self._flush_due = True
        loop = asyncio.get_running_loop()
        if self._in_flight:
            loop.call_later(self._settings.gather_ms / 1000, self._flush)
        else:
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self._gatherer.flush()

    def _send(self, chunk: Chunk) -> None:
        sequence = self._sequence
        chunk_id = self._boot << 32 | sequence
        self._sequence = (self._sequence + 1) & 0xFFFF_FFFF
        value = chunk.seal(chunk_id, indexed=chunk.topic == REJECTED)
        sent = self._clock.monotonic()

        def delivered(error: str) -> None:
            self._landed()
            self._bytes -= chunk.size
            self._settle_chunk(chunk, sequence, error, self._clock.monotonic() - sent)

        self._in_flight += 1
        try:
            self._outlet.produce(chunk.topic, chunk.partition, value, chunk.headers(chunk_id), delivered)
        except Retryable as error:
            delivered(str(error))
            return
        self._metrics.chunk(len(chunk.lines), len(value))
        self._schedule_poll()

    def _settle_chunk(self, chunk: Chunk, sequence: int, error: str, seconds: float) -> None:
        if error:
            self._received.failed(sequence, chunk.counts.items())
            self._metrics.failed()
            for ticket in chunk.tickets:
                ticket.fail(Retryable(f"Kafka did not take the events ({error}); send the same events again"))
            return
        self._metrics.produced(seconds)
        self._received.settled(sequence, chunk.counts.items())
        for ticket in chunk.tickets:
            ticket.resolve()

    def _schedule_poll(self) -> None:
        if not self._poll_due:
            self._poll_due = True
            asyncio.get_running_loop().call_later(_POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        self._poll_due = False
        self._outlet.poll()
        if self._in_flight:
            self._schedule_poll()

    def _landed(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()

    async def _settle(self) -> None:
        """Wait until nothing is on the way."""
        self._idle.clear()
        if self._in_flight:
            await self._idle.wait()

    async def _publish_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._settings.ledger_seconds)
            self._publish_counts()

    def _publish_counts(self) -> None:
        version, lines = self._received.publication()
        if not lines:
            return

        def delivered(error: str) -> None:
            if not error:
                self._received.confirm(version)
                if self._received.behind:
                    self._publish_counts()
            self._landed()

        self._in_flight += 1
        try:
            self._outlet.produce(LEDGER, 0, lines, [], delivered)
        except Retryable as error:
            delivered(str(error))
            return
        self._schedule_poll()
