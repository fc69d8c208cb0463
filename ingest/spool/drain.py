"""From the spool to Kafka, in order, as soon as Kafka answers.

Guarantee: a record leaves the spool only after Kafka acknowledged it, and the records of a partition are sent in the
order in which they were spooled, by an idempotent producer that gives none up. On failure, or when nothing is
acknowledged for `away_seconds`, everything on its way is taken back and sent again from the first that is missing.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final, Protocol

from ingest.producer import RecallingProducer
from ingest.settings import GatewaySettings
from ingest.spool.reroute import reroute
from ingest.spool.store import Place, Spool, Waiting
from schemas.clock import Clock
from schemas.errors import Retryable

WINDOW_BYTES: Final = 8 << 20
"""On the way to Kafka at once."""
HOLD_SECONDS: Final = 1.0
"""How long new chunks may wait in memory for the last ones of the spool."""

_TICK_SECONDS: Final = 0.002
_log = logging.getLogger(__name__)


class Gate(Protocol):
    """Where new chunks go meanwhile; see `ingest.outlet`."""

    async def ask(self) -> int: ...
    def hold(self) -> None: ...
    def resume_spooling(self) -> None: ...
    def go_live(self) -> None: ...
    def took(self, *, more: bool) -> None: ...


class Drainer:
    """`run` ends when the spool is empty and new chunks go to Kafka again."""

    def __init__(
        self, spool: Spool, producer: RecallingProducer, gate: Gate, clock: Clock, settings: GatewaySettings
    ) -> None:
        self._spool, self._producer, self._gate = spool, producer, gate
        self._clock, self._settings = clock, settings
        self._generation = 0
        self._out: dict[tuple[int, int], int] = {}
        """Place of each record on its way -> how many records it became."""
        self._out_bytes = 0
        self._problem = ""
        self._heard = 0.0

    async def run(self) -> None:
        """Ask Kafka again and again, and drain while it answers."""
        while True:
            try:
                partitions = await self._gate.ask()
                if partitions and await self._drain(partitions):
                    self._gate.go_live()
                    return
            except Exception:
                _log.exception("draining the spool failed; trying again")
                self._take_back()
            await asyncio.sleep(self._settings.probe_seconds)

    async def _drain(self, partitions: int) -> bool:
        """Whether the spool is empty; False when Kafka stopped taking its records."""
        place, held_since = Place(), None
        self._generation += 1
        self._out, self._out_bytes, self._problem = {}, 0, ""
        self._heard = self._clock.monotonic()
        while True:
            found: list[Waiting] = []
            if self._out_bytes < WINDOW_BYTES // 2:
                found, place = await asyncio.to_thread(self._spool.read, place, WINDOW_BYTES // 2)
                place = self._send_all(found, partitions) or place
            now = self._clock.monotonic()
            if not found and held_since is None and self._out_bytes < WINDOW_BYTES // 2:
                held_since = now
                self._gate.hold()
            if held_since is not None and not self._spool.chunks:
                return True
            if held_since is not None and now - held_since > HOLD_SECONDS:
                held_since = None
                self._gate.resume_spooling()
            if self._is_stuck(now):
                self._take_back()
                return False
            if not found:
                await asyncio.sleep(_TICK_SECONDS)
            self._producer.poll()

    def _send_all(self, found: list[Waiting], partitions: int) -> Place | None:
        """Send records; the place of the first that the producer had no room for."""
        for one in found:
            parts = reroute(one.record, partitions)
            for number, part in enumerate(parts):
                try:
                    report = partial(self._delivered, one, self._generation)
                    self._producer.produce(part.topic, part.partition, part.value, part.headers, report)
                except Retryable as error:
                    if number or not self._out:
                        self._problem = str(error)
                    return Place(one.segment, one.start)
            self._out[one.segment, one.start] = len(parts)
            self._out_bytes += len(one.record.value)
        return None

    def _delivered(self, one: Waiting, generation: int, error: str) -> None:
        """A part of a record arrived, or did not. What comes from before `_take_back` is old news."""
        if generation != self._generation:
            return
        if error:
            self._problem = error
            return
        self._heard = self._clock.monotonic()
        self._out[one.segment, one.start] -= 1
        if not self._out[one.segment, one.start]:
            del self._out[one.segment, one.start]
            self._out_bytes -= len(one.record.value)
            self._spool.acknowledged(one)
            self._gate.took(more=bool(self._out))

    def _is_stuck(self, now: float) -> bool:
        if not self._out:
            self._heard = now
        return bool(self._problem) or now - self._heard > self._settings.away_seconds

    def _take_back(self) -> None:
        _log.warning("draining the spool stopped: %s", self._problem or "Kafka acknowledges nothing")
        self._generation += 1
        self._producer.abandon()
        self._gate.resume_spooling()
