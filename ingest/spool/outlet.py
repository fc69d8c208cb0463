"""The way out with a disk behind it: chunks to Kafka, or to the spool while Kafka does not take them.

Guarantee: `delivered("")` means that Kafka acknowledged the chunk, or that it is fsynced in the spool. Chunks of one
partition reach Kafka in the order in which they were handed over: once one goes to the spool, all later ones go behind
it, until the spool is empty. On failure of both `delivered` says why.

Three modes. Live: to Kafka. Spooling: to the spool, from which a drainer brings them to Kafka as soon as Kafka answers.
Holding: the drainer has come to the end of the spool, so new chunks wait in memory for a moment and then go live.
Kafka counts as away as soon as one chunk waits for `away_seconds`: partitions are not told apart.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum, auto

from ingest.metrics import CollectorMetrics
from ingest.outlet import Outlet, Sent
from ingest.producer import Delivered, RecallingProducer
from ingest.settings import GatewaySettings
from ingest.spool.drain import Drainer
from ingest.spool.frames import SpoolRecord
from ingest.spool.store import Spool
from schemas.clock import Clock
from schemas.errors import Retryable
from schemas.topics import LEDGER

_log = logging.getLogger(__name__)


class Mode(Enum):
    """Where chunks go."""

    LIVE = auto()
    SPOOLING = auto()
    HOLDING = auto()


class SpoolingOutlet(Outlet):
    """`producer` must give no record up by itself: what it holds is taken back (`abandon`) and spooled instead."""

    keeps_values = True

    def __init__(
        self,
        producer: RecallingProducer,
        clock: Clock,
        settings: GatewaySettings,
        metrics: CollectorMetrics,
        partitions: int,
        spool: Spool,
    ) -> None:
        super().__init__(producer, clock, settings, metrics, partitions)
        self.spool, self._recalling = spool, producer
        self._stranded: dict[int, Sent] = {}
        self._held: list[tuple[SpoolRecord, Delivered]] = []
        self._started = False
        self._mode = Mode.SPOOLING if spool.chunks else Mode.LIVE
        metrics.spool_chunks.set_function(lambda: spool.chunks)
        metrics.spool_bytes.set_function(lambda: spool.bytes)
        metrics.spool_age.set_function(self._age)

    def start(self) -> None:
        if self._started:
            return
        self._started = True
        self.spool.start(asyncio.get_running_loop().call_soon_threadsafe)
        if self.spooling:
            _log.warning("an earlier process left %d chunks in the spool; draining them", self.spool.chunks)
            self._start_draining()

    @property
    def problem(self) -> str:
        why = self.spool.refuses() if self.spooling else ""
        return f"Kafka does not take chunks, and {why}" if why else ""

    @property
    def spooling(self) -> bool:
        return self._mode is not Mode.LIVE

    def waiting(self) -> dict[str, int]:
        return {"spooled_chunks": self.spool.chunks, "spooled_bytes": self.spool.bytes, "oldest_seconds": self._age()}

    def produce(
        self, topic: str, partition: int, value: bytes, headers: list[tuple[str, bytes]], delivered: Delivered
    ) -> None:
        record = SpoolRecord(topic, partition, self.partitions, self._clock.now(), headers, value)
        if topic == LEDGER and not self.answers:
            delivered("Kafka is away")  # counts come again by themselves, and must not pile up in the producer
        elif topic == LEDGER or self._mode is Mode.LIVE:
            self._send(record, delivered)
        elif self._mode is Mode.HOLDING:
            self._held.append((record, delivered))
        else:
            self._put_away(record, delivered)

    def poll(self) -> None:
        super().poll()
        if self._stranded or self._is_stuck():
            self._divert()

    async def drained(self) -> None:
        """Return when the spool is empty, or Kafka does not take what is in it."""
        if self._task is not None and self.answers and not self._circuit.open:
            await asyncio.wait({self._task})

    async def close(self) -> None:
        """What Kafka has not taken by now stays in the spool for the next start."""
        await super().close()
        if self._sent or self._stranded:
            self._divert(drain=False)
        self._put_all_away()
        if self._started:
            await asyncio.to_thread(self.spool.close)
            await asyncio.sleep(0)  # the last `delivered` calls
        if self.spool.chunks:
            _log.warning("%d chunks stay in the spool until the next start", self.spool.chunks)

    def hold(self) -> None:
        """From the drainer: all that was in the spool is on its way to Kafka."""
        self._mode = Mode.HOLDING

    def resume_spooling(self) -> None:
        """From the drainer: the end is not reached after all; what was held goes behind the rest."""
        self._mode = Mode.SPOOLING
        self._put_all_away()

    def go_live(self) -> None:
        """From the drainer: the spool is empty."""
        _log.info("the spool is empty; chunks go to Kafka again")
        self._mode = Mode.LIVE
        held, self._held = self._held, []
        for record, delivered in held:
            try:
                self._send(record, delivered)
            except Retryable as error:
                delivered(str(error))

    def took(self, *, more: bool) -> None:
        """From the drainer: Kafka has acknowledged a chunk of the spool; are there more on the way?"""
        self._metrics.drained()
        self._circuit.delivered(self._clock.monotonic(), more=more)

    def _age(self) -> int:
        """How many whole seconds the oldest chunk has waited, at most."""
        oldest = self.spool.oldest_at
        return 0 if oldest is None else max(0, round(self._clock.now() - oldest))

    def _lost(self, number: int, sent: Sent, error: str) -> None:
        _log.warning("Kafka did not take a chunk: %s", error)
        self._stranded[number] = sent

    def _opened(self) -> None:
        """Nothing to begin: the drainer asks Kafka."""

    def _divert(self, *, drain: bool = True) -> None:
        """Take everything back from the producer and put it into the spool, in the order of sending."""
        self._mode, self.answers = Mode.SPOOLING, False
        self._recalling.abandon()
        stranded = {**self._stranded, **self._sent}
        self._stranded, self._sent = {}, {}
        _log.warning("Kafka does not take chunks; %d and all further ones go to the spool", len(stranded))
        for number in sorted(stranded):
            self._put_away(stranded[number].record, stranded[number].delivered)
        if drain:
            self._start_draining()

    def _put_away(self, record: SpoolRecord, delivered: Delivered) -> None:
        def done(error: str) -> None:
            if not error:
                self._metrics.spooled()
            delivered(error)

        try:
            self.spool.offer(record, done)
        except Retryable as error:
            delivered(str(error))

    def _put_all_away(self) -> None:
        held, self._held = self._held, []
        for record, delivered in held:
            self._put_away(record, delivered)

    def _start_draining(self) -> None:
        if self._task is None or self._task.done():
            drainer = Drainer(self.spool, self._recalling, self, self._clock, self._settings)
            self._task = asyncio.get_running_loop().create_task(drainer.run())
