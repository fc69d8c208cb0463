"""The gateway: events in, verdicts out, and everything in Kafka before the answer. It knows nothing of HTTP.

Reads: parsed events. Writes: chunks to `headrace.events` and `headrace.rejected`, counts to `headrace.ledger`.
Guarantee: `submit` returns after Kafka acknowledged every chunk that carries an event of the call, accepted or
rejected; or, where there is a spool, after the chunk is on its disk. On failure it raises `Retryable`. `Overloaded` and
`Unavailable` mean that nothing was stored. After a deadline none of the events is stored, or some, or all: a call
spreads over several partitions, and without transactions nothing undoes the chunks that arrived. Whoever called must
send the same events with the same ids again; deduplication downstream makes that effectively once. A chunk that was on
the wire when the deadline passed may still be stored later, and its events then count as received.

A gateway belongs to one event loop and is not thread-safe.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from ingest.courier import Courier
from ingest.decode import printable
from ingest.gather import Group
from ingest.metrics import CollectorMetrics
from ingest.outlet import Outlet
from ingest.path import EVENT_PATH
from ingest.producer import ChunkProducer
from ingest.refusals import Overloaded
from ingest.rejected import MESSAGE_CHARS, rejected_line
from ingest.settings import GatewaySettings
from ingest.steps import Origin, Validator, original_of
from schemas.clock import Clock
from schemas.errors import ConfigError, Retryable
from schemas.taxonomy import Rejection
from schemas.topics import EVENTS, REJECTED

_SLICE = 500
"""Events judged before other requests get a turn."""


class Verdict(TypedDict):
    """Why one event was not accepted; `index` is its place in the call."""

    index: int
    event_id: str
    reason: str
    field: str
    message: str


class Verdicts(NamedTuple):
    """The answer to a call: received = accepted + len(rejected)."""

    accepted: int
    rejected: list[Verdict]


class Gateway:
    """Validate, route, produce. `boot` (32 bits) names this incarnation; `partitions` those of the event topics."""

    def __init__(
        self,
        validators: Mapping[str, Validator],
        producer: ChunkProducer,
        clock: Clock,
        partitions: int,
        boot: int,
        *,
        settings: GatewaySettings | None = None,
        metrics: CollectorMetrics | None = None,
        outlet: Outlet | None = None,
    ) -> None:
        """`outlet`: how chunks leave, over the same producer; by default straight to Kafka."""
        self.validators = validators
        self.metrics = metrics or CollectorMetrics()
        self.pending = 0
        self._clock, self._settings = clock, settings or GatewaySettings()
        self.outlet = outlet or Outlet(producer, clock, self._settings, self.metrics, partitions)
        self._courier = Courier(producer, self.outlet, clock, boot, self._settings, self.metrics)
        self._closing = False

    @property
    def partitions(self) -> int:
        """Partitions of the event topics, as Kafka said when it was last asked."""
        return self.outlet.partitions

    def start(self) -> None:
        """Begin the work in the background, on the running event loop; the first `submit` does, too."""
        self._courier.start()

    def refuse_early(self) -> None:
        """Raises Retryable when a request would be refused whatever it holds, so that nobody reads its body."""
        self.outlet.refuse()

    async def submit(
        self,
        tenant: str,
        pack: str,
        key_id: str,
        events: Sequence[object],
        *,
        backfill: bool = False,
        weigh: bool = True,
        where: Callable[[int], str] | None = None,
        receipts: Sequence[float] | None = None,
    ) -> Verdicts:
        """Validate events and store them all in Kafka, the rejected ones too.

        `weigh`: check each event's size (skip it where the caller knows that all are small). `where`: says where the
        event at an index stands (file and line); kept with a rejected one. `receipts`: when each event was received
        before (Unix seconds); its age is judged by that, though it counts as received now. Raises Overloaded when too
        much is waiting, Retryable when Kafka does not take the events in time, ConfigError for an unknown pack.
        """
        self._admit(len(events))
        self.pending += len(events)
        try:
            outcome = _Outcome(self._origin(tenant, pack, key_id, backfill, weigh), where, receipts)
            for start in range(0, len(events), _SLICE):
                if start:
                    await asyncio.sleep(0)
                outcome.judge(start, events[start : start + _SLICE])
            if events:
                await self._courier.carry(list(outcome.groups(self._courier.any_partition(self.partitions))))
        finally:
            self.pending -= len(events)
        accepted = len(events) - len(outcome.verdicts)
        self.metrics.verdicts(tenant, accepted, Counter(verdict["reason"] for verdict in outcome.verdicts))
        return Verdicts(accepted, outcome.verdicts)

    async def close(self) -> None:
        """Take nothing more, hand everything over, publish the last counts. Gives up after `drain_seconds`."""
        self._closing = True
        await self._courier.close()

    def _admit(self, count: int) -> None:
        if self._closing:
            raise Retryable("this process is shutting down; send the same events again")
        if self.pending + count > self._settings.pending_events:
            raise Overloaded(f"{self.pending} events are waiting for Kafka; come back in a moment")
        self.outlet.admit()

    def _origin(self, tenant: str, pack: str, key_id: str, backfill: bool, weigh: bool) -> Origin:
        validator = self.validators.get(pack)
        if validator is None:
            raise ConfigError(f"the pack is not loaded; loaded are: {', '.join(sorted(self.validators))}", key=pack)
        received_at = round(self._clock.now(), 3)
        depth, size = self._settings.event_depth, self._settings.event_bytes
        return Origin(tenant, pack, key_id, received_at, backfill, validator, self.partitions, depth, size, weigh)


class _Outcome:
    """What became of the events of one call: lines by partition, and the rejected ones by reason."""

    def __init__(
        self,
        origin: Origin,
        where: Callable[[int], str] | None = None,
        receipts: Sequence[float] | None = None,
    ) -> None:
        self.verdicts: list[Verdict] = []
        self._origin, self._where, self._receipts = origin, where, receipts
        self._lines: dict[int, list[bytes]] = {}
        self._rejected: dict[str, list[bytes]] = {}

    def judge(self, start: int, events: Sequence[object]) -> None:
        """Take each event down the path; `start` is the place of the first in the call."""
        origin, lines, receipts = self._origin, self._lines, self._receipts
        for index, event in enumerate(events, start):
            if receipts is not None:
                origin = origin._replace(judged_at=receipts[index])
            state: Any = event
            for step in EVENT_PATH:
                state = step(state, origin)
                if state.__class__ is Rejection:
                    self._reject(index, event, state)
                    break
            else:
                partition, line = state
                if partition in lines:
                    lines[partition].append(line)
                else:
                    lines[partition] = [line]

    def groups(self, rejected_partition: int) -> Iterator[Group]:
        """The lines as the courier takes them."""
        tenant, minute = self._origin.tenant, int(self._origin.received_at // 60 * 60)
        for partition, lines in self._lines.items():
            yield Group(EVENTS, partition, lines, (tenant, minute, ""))
        for reason, lines in self._rejected.items():
            yield Group(REJECTED, rejected_partition, lines, (tenant, minute, reason))

    def _reject(self, index: int, event: object, rejection: Rejection) -> None:
        reason = str(rejection.reason)
        kept = rejection
        if self._where is not None:
            kept = rejection._replace(message=f"{self._where(index)}: {rejection.message}")
        line = rejected_line(kept, original_of(event, self._origin.max_bytes), self._origin)
        self._rejected.setdefault(reason, []).append(line)
        self.verdicts.append(
            Verdict(
                index=index,
                event_id=printable(rejection.event_id),
                reason=reason,
                field=printable(rejection.field),
                message=printable(rejection.message, MESSAGE_CHARS),
            )
        )
