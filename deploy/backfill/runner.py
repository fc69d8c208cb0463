"""Batches of events through the gateway, several on the way at once, until all are in Kafka.

Guarantee: when `send` returns, every batch is stored or rejected. A batch that Kafka did not take is sent again with
the same ids, so the worker drops what had arrived. Memory: at most `window` batches.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ingest.gateway import Verdicts
from schemas.clock import Clock
from schemas.errors import Retryable

RETRY_SECONDS: Final = 0.5
SAMPLES: Final = 10

Where = Callable[[int], str]
"""File and line of the event at an index of its batch."""


class Door(Protocol):
    """The part of `ingest.gateway.Gateway` that is needed."""

    async def submit(
        self,
        tenant: str,
        pack: str,
        key_id: str,
        events: list[object],
        *,
        backfill: bool = False,
        where: Where | None = None,
    ) -> Verdicts: ...


@dataclass
class Report:
    """What became of the events. `seconds`: wall time; `samples`: the first rejections."""

    events: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    seconds: float = 0.0
    samples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Count what another sent."""
        self.events += other.events
        self.accepted += other.accepted
        self.rejected.update(other.rejected)
        self.retries += other.retries
        self.samples = [*self.samples, *other.samples][:SAMPLES]


@dataclass(frozen=True)
class Owner:
    """Whose events these are, and by which key they are recorded to have come."""

    tenant: str
    pack: str
    key_id: str = "backfill"


class Backfill:
    """Sends batches for one owner. `give_up`: seconds of trouble with Kafka after which it raises Retryable."""

    def __init__(self, door: Door, owner: Owner, clock: Clock, *, window: int = 8, give_up: float = 60.0) -> None:
        self._door, self._owner, self._clock = door, owner, clock
        self._window, self._give_up = window, give_up
        self.report = Report()

    async def send(
        self, batches: Iterable[list[object]], sent: Callable[[list[object]], None] = lambda batch: None
    ) -> Report:
        """Send all batches; `sent` is called with each as it is stored. Raises Retryable when Kafka stays away."""
        begin = self._clock.monotonic()
        waiting: set[asyncio.Task[list[object]]] = set()
        try:
            for batch in batches:
                waiting.add(asyncio.create_task(self._one(batch)))
                while len(waiting) >= self._window:
                    waiting = await _some(waiting, sent)
                await asyncio.sleep(0)
            while waiting:
                waiting = await _some(waiting, sent)
        finally:
            for task in waiting:
                task.cancel()
            self.report.seconds += self._clock.monotonic() - begin
        return self.report

    async def _one(self, batch: list[object]) -> list[object]:
        self.report.add(await self.submit(batch))
        return batch

    async def submit(self, batch: list[object], where: Where | None = None) -> Report:
        """Send one batch, again and again until it is taken. Raises Retryable when Kafka stays away."""
        until = self._clock.monotonic() + self._give_up
        retries = 0
        while True:
            try:
                owner = self._owner
                verdicts = await self._door.submit(
                    owner.tenant, owner.pack, owner.key_id, batch, backfill=True, where=where
                )
                break
            except Retryable:
                if self._clock.monotonic() >= until:
                    raise
                retries += 1
                await asyncio.sleep(RETRY_SECONDS)
        return _report(len(batch), verdicts, retries, where)


def _report(events: int, verdicts: Verdicts, retries: int, where: Where | None) -> Report:
    samples: list[dict[str, Any]] = [
        {"where": f"event {one['index'] + 1}" if where is None else where(one["index"]), **one}
        for one in verdicts.rejected[:SAMPLES]
    ]
    reasons = Counter(verdict["reason"] for verdict in verdicts.rejected)
    return Report(events, verdicts.accepted, reasons, retries, 0.0, samples)


async def _some(
    waiting: set[asyncio.Task[list[object]]], sent: Callable[[list[object]], None]
) -> set[asyncio.Task[list[object]]]:
    """Wait for at least one batch; the others are returned."""
    done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        sent(task.result())
    return left
