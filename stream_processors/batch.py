"""One batch on its way through the path: what came in, what is new, what goes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from schemas.wire import ChunkCount, CorrectionLine, EventLine, LedgerLine, WindowCell


def group_by_tenant(events: Sequence[EventLine]) -> dict[str, list[EventLine]]:
    """Events by tenant, in order."""
    found: dict[str, list[EventLine]] = {}
    for event in events:
        found.setdefault(event.tenant, []).append(event)
    return found


@dataclass
class Chunk:
    """A decoded record. `fresh` is None until deduplication decided, and is `events` itself when all are new.

    `own`: the events that this chunk brought first: the fresh ones, and after a crash those that are stored already.
    `duplicate_lines`: the lines whose id another line brought before.
    """

    partition: int
    offset: int
    number: int
    value: bytes
    counts: list[ChunkCount]
    events: list[EventLine]
    fresh: list[EventLine] | None = None
    fresh_lines: bytes = b""
    duplicate_lines: bytes = b""

    @cached_property
    def by_tenant(self) -> dict[str, list[EventLine]]:
        """The events of each tenant; nearly always there is one."""
        tenants = {count.tenant for count in self.counts}
        if len(tenants) == 1:
            return {tenants.pop(): self.events}
        return group_by_tenant(self.events)

    @cached_property
    def ids_by_tenant(self) -> dict[str, list[str]]:
        """The event ids of each tenant, in order."""
        return {tenant: [event.event_id for event in events] for tenant, events in self.by_tenant.items()}

    def fresh_by_tenant(self) -> dict[str, list[EventLine]]:
        """The new events of each tenant."""
        if self.fresh is self.events:
            return self.by_tenant
        return group_by_tenant(self.fresh or [])

    own: list[EventLine] | None = None


@dataclass
class Batch:
    """Chunks of one `take`, in order, with the rows that the steps add.

    `number`: the processor's count of batches, from 1. `old_minutes`: by partition, minutes whose windows must be
    recomputed once the batch is stored. `poison`: (partition, offset, why) of records that are not chunks.
    `corrections`: by partition, what events were taken away from; `corrected`: the window cells that it led to.
    """

    chunks: list[Chunk]
    ledger: list[LedgerLine] = field(default_factory=list)
    old_minutes: dict[int, set[int]] = field(default_factory=dict)
    poison: list[tuple[int, int, str]] = field(default_factory=list)
    corrections: dict[int, list[CorrectionLine]] = field(default_factory=dict)
    corrected: list[WindowCell] = field(default_factory=list)
    number: int = 0

    def fresh(self) -> Iterator[tuple[int, str, list[EventLine]]]:
        """(partition, tenant, new events) of each chunk that has any."""
        for chunk in self.chunks:
            if chunk.fresh:
                for tenant, events in chunk.fresh_by_tenant().items():
                    yield chunk.partition, tenant, events

    def lines(self) -> bytes:
        """The new events as `JSONEachRow`, untouched bytes of the chunks."""
        return b"".join(chunk.fresh_lines for chunk in self.chunks)

    def duplicates(self) -> bytes:
        """The lines that were dropped because their id is known, untouched as well."""
        return b"".join(chunk.duplicate_lines for chunk in self.chunks)
