"""The watchdog: a worker that does not get on, although nothing outside keeps it, has to be started again.

Three signs. A batch that is held for too long: a handler hangs. An acknowledged offset that stands still while records
wait behind it: assigned but not consuming, or consuming but not committing, which Kafka clients and Faust have been
seen to do for ever. And a lease that nobody renews: we are no member of the group, and flush nothing. Kafka is asked
for the offsets with a client of its own, because the client that hangs would not tell. While Kafka does not answer or
the warehouse takes nothing, waiting is right, and all clocks start anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from schemas.clock import Clock
from schemas.errors import Retryable
from stream_processors.lease import Lease

EXIT_STALLED: Final = 71
"""A batch was held for too long."""
EXIT_STUCK: Final = 73
"""An offset stood still for too long, or the group does not know us."""

LOOKS: Final = 6
"""Times that the offsets are asked for before they count as standing still."""
_FROZEN_SECONDS: Final = 10.0

Place = tuple[str, int]
"""Topic and partition."""


class OffsetsPort(Protocol):
    """Asks Kafka how far the group is."""

    def spans(self) -> Mapping[Place, tuple[int, int]]:
        """First offset that is not acknowledged, and the next that will be written. Blocks; raises `Retryable`."""
        ...


class Outage:
    """When something outside was last seen not to work (monotonic seconds). Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.last = float("-inf")

    def note(self) -> None:
        """Something outside does not work now."""
        self.last = self._clock.monotonic()


@dataclass
class Progress:
    """What the routes are at.

    `began`: when each unfinished batch of a topic began (monotonic seconds), by (topic, number of the batch). `owned`:
    (topic, partition) of what is assigned to us, None before the first assignment. `assigning`: state is being loaded.
    """

    began: dict[tuple[str, int], float] = field(default_factory=dict)
    owned: frozenset[Place] | None = None
    assigning: int = 0


def place_of(message: Any) -> Place:
    """Where a Kafka message comes from."""
    return message.topic, message.partition


@dataclass(frozen=True)
class Guard:
    """What watches over a process. `outage`: noted by whoever waits for the warehouse. No `offsets`: not looked at."""

    outage: Outage
    lease: Lease
    offsets: OffsetsPort | None = None


class Verdict(NamedTuple):
    """Why the process has to end, and with which status."""

    why: str
    status: int


class Watchdog:
    """`look` is called about once a second, from one thread. Without `guard.offsets`, batches are watched alone."""

    def __init__(self, progress: Progress, guard: Guard, clock: Clock, seconds: float) -> None:
        self._progress, self._clock, self._seconds = progress, clock, seconds
        self._outage, self._lease, self._offsets = guard.outage, guard.lease, guard.offsets
        self._still: dict[Place, tuple[int, float]] = {}
        """Of each place where records wait: the acknowledged offset, and since when it has stood there."""
        self._owned: frozenset[Place] | None = None
        self._looked = self._asked = clock.monotonic()

    def look(self) -> Verdict | None:
        """Whether the process has to end."""
        now = self._clock.monotonic()
        if now - self._looked > _FROZEN_SECONDS:
            self._outage.note()  # we did not run ourselves
        self._looked = now
        return self._held_batch(now) or self._offset_that_stands_still(now) or self._lapsed_lease()

    def _held_batch(self, now: float) -> Verdict | None:
        for (topic, _), began in list(self._progress.began.items()):
            if now - max(began, self._outage.last) > self._seconds:
                return Verdict(f"{topic}: no progress for {self._seconds:.0f} s", EXIT_STALLED)
        return None

    def _offset_that_stands_still(self, now: float) -> Verdict | None:
        if self._offsets is None or now - self._asked < self._seconds / LOOKS:
            return None
        self._asked = now
        if self._progress.assigning or self._progress.owned != self._owned:
            self._owned = self._progress.owned
            self._still = {}
            return None
        try:
            spans = self._offsets.spans()
        except Retryable:
            self._outage.note()
            return None
        self._note(spans, self._clock.monotonic())
        return self._judge(self._clock.monotonic())

    def _lapsed_lease(self) -> Verdict | None:
        now = self._clock.monotonic()
        if self._offsets is None or not self._long(now - self._lease.lapsed(), now):
            return None
        why = f"the group has answered no heartbeat for {self._seconds:.0f} s, although Kafka answers"
        return Verdict(why, EXIT_STUCK)

    def _note(self, spans: Mapping[Place, tuple[int, int]], now: float) -> None:
        still: dict[Place, tuple[int, float]] = {}
        for place, (acknowledged, end) in spans.items():
            if end > acknowledged:
                before = self._still.get(place)
                still[place] = before if before is not None and before[0] == acknowledged else (acknowledged, now)
        self._still = still

    def _judge(self, now: float) -> Verdict | None:
        """With partitions of our own: one of them stands still. Without any: nobody in the group gets on."""
        stuck = [place for place, (_, since) in self._still.items() if self._long(since, now)]
        mine = [place for place in stuck if self._owned and place in self._owned]
        if mine:
            topic, partition = mine[0]
            offset = self._still[mine[0]][0]
            why = f"{topic}/{partition}: records wait, and the acknowledged offset {offset} has not moved"
        elif stuck and not self._owned and len(stuck) == len(self._still):
            why = f"no partition was assigned to us, and {_named(stuck)} of the group have not moved"
        else:
            return None
        return Verdict(f"{why} for {self._seconds:.0f} s", EXIT_STUCK)

    def _long(self, since: float, now: float) -> bool:
        return now - max(since, self._outage.last) > self._seconds


def _named(places: Iterable[Place]) -> str:
    return ", ".join(f"{topic}/{partition}" for topic, partition in sorted(places))


def watch(watchdog: Watchdog, clock: Clock, end: Callable[[str, int], None]) -> None:
    """Let the watchdog look once a second, in a thread; `end` is told why and with which status, and ends it all."""

    def run() -> None:
        while True:
            clock.sleep(1.0)
            verdict = watchdog.look()
            if verdict is not None:
                end(verdict.why, verdict.status)

    threading.Thread(target=run, name="watchdog", daemon=True).start()
