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


class Door(Protocol):
    """The part of `ingest.gateway.Gateway` that is needed."""

    async def submit(
        self, tenant: str, pack: str, key_id: str, events: list[object], *, backfill: bool = False
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
        """Count what another process sent; its events were counted when they were handed over."""
        self.accepted += other.accepted
        self.rejected.update(other.rejected)
        self.retries += other.retries
        self.samples = sorted([*self.samples, *other.samples], key=lambda one: int(one["number"]))[:SAMPLES]

    def summary(self) -> dict[str, Any]:
        """As the command prints it."""
        rate = round(self.events / self.seconds) if self.seconds > 0 else 0
        return {
            "events": self.events,
            "accepted": self.accepted,
            "rejected": dict(sorted(self.rejected.items())),
            "retries": self.retries,
            "seconds": round(self.seconds, 3),
            "events_per_second": rate,
        }


@dataclass(frozen=True)
class Owner:
    """Whose events these are, and by which key they are recorded to have come."""

    tenant: str
    pack: str
    key_id: str = "backfill"


class Backfill:
    """Sends batches for one owner. `give_up`: seconds of trouble with Kafka after which it raises Retryable.

    `first`: events before these, so that samples carry the number of the event.
    """

    def __init__(
        self, door: Door, owner: Owner, clock: Clock, *, window: int = 8, give_up: float = 60.0, first: int = 0
    ) -> None:
        self._door, self._owner, self._clock = door, owner, clock
        self._window, self._give_up = window, give_up
        self._number = first
        self.report = Report()

    async def send(
        self, batches: Iterable[list[object]], sent: Callable[[list[object]], None] = lambda batch: None
    ) -> Report:
        """Send all batches; `sent` is called with each as it is stored. Raises Retryable when Kafka stays away."""
        begin = self._clock.monotonic()
        waiting: set[asyncio.Task[list[object]]] = set()
        try:
            for batch in batches:
                waiting.add(asyncio.create_task(self._submit(batch, self._number)))
                self._number += len(batch)
                self.report.events += len(batch)
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

    async def _submit(self, batch: list[object], first: int) -> list[object]:
        """One batch, again and again until it is taken. Returns it."""
        until = self._clock.monotonic() + self._give_up
        while True:
            try:
                owner = self._owner
                verdicts = await self._door.submit(owner.tenant, owner.pack, owner.key_id, batch, backfill=True)
                break
            except Retryable:
                if self._clock.monotonic() >= until:
                    raise
                self.report.retries += 1
                await asyncio.sleep(RETRY_SECONDS)
        self._count(verdicts, first)
        return batch

    def _count(self, verdicts: Verdicts, first: int) -> None:
        report = self.report
        report.accepted += verdicts.accepted
        for verdict in verdicts.rejected:
            report.rejected[verdict["reason"]] += 1
            if len(report.samples) < SAMPLES:
                report.samples.append({"number": first + verdict["index"] + 1, **verdict})


async def _some(
    waiting: set[asyncio.Task[list[object]]], sent: Callable[[list[object]], None]
) -> set[asyncio.Task[list[object]]]:
    """Wait for at least one batch; the others are returned."""
    done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        sent(task.result())
    return left
