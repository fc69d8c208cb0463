"""The two feeds of the demo: history through the gateway in compressed time, then live events over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from deploy.backfill.events import batches
from deploy.backfill.runner import Backfill, Door, Owner, Report
from deploy.simulator.faults import Send
from deploy.simulator.http_door import BATCH, HttpDoor, surprises
from deploy.simulator.simulation import Simulation
from deploy.simulator.truth import Truth
from schemas.clock import Clock
from schemas.keys import DEV_PACK, DEV_TENANT

HISTORY_BATCH: Final = 1_000
_SHOWN: Final = 5


async def send_history(
    simulation: Simulation, truth: Truth, door: Door, clock: Clock, tell: Callable[[int], None]
) -> Report:
    """Send the whole history and record it; `tell` hears how many events are stored. Raises Retryable."""
    on_the_way: dict[int, list[Send]] = {}
    stored = 0

    def payloads() -> Iterator[list[Any]]:
        for sends in batches(simulation.history(), HISTORY_BATCH):
            batch = [send.payload for send in sends]
            on_the_way[id(batch)] = sends
            yield batch

    def record(batch: list[object]) -> None:
        nonlocal stored
        truth.record("backfill", on_the_way.pop(id(batch)))
        stored += len(batch)
        tell(stored)

    sender = Backfill(door, Owner(DEV_TENANT, DEV_PACK, "simulator"), clock)
    report = await sender.send(payloads(), record)
    truth.uncertain += report.retries * HISTORY_BATCH
    return report


class LiveFeed:
    """Sends what is due, each time `pump` is called; the clock decides what is due."""

    def __init__(self, simulation: Simulation, truth: Truth, door: HttpDoor, clock: Clock) -> None:
        self._simulation, self._truth, self._door, self._clock = simulation, truth, door, clock
        self.sent = self.accepted = self.rejected = 0
        self.surprises: list[str] = []

    def pump(self) -> None:
        """Send everything due by now. Raises Retryable or Permanent when the collector does not take it."""
        for sends in batches(self._simulation.live(int(self._clock.now() * 1000)), BATCH):
            posted = self._door.post(sends)
            self._truth.uncertain += posted.uncertain
            self._truth.record("http", sends)
            self.sent += len(sends)
            self.accepted += posted.accepted
            self.rejected += len(posted.rejected)
            if len(self.surprises) < _SHOWN:
                self.surprises += surprises(sends, posted)
