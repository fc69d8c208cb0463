"""One batch on its way through the path: what came in, what is new, what goes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.wire import ChunkCount, EventLine, LedgerLine


@dataclass
class Chunk:
    """A decoded record. `fresh` is None until deduplication decided, and is `events` itself when all are new.

    `own`: the events that this chunk brought first: the fresh ones, and after a crash those that are stored already.
    """

    partition: int
    offset: int
    number: int
    value: bytes
    counts: list[ChunkCount]
    events: list[EventLine]
    fresh: list[EventLine] | None = None
    fresh_lines: bytes = b""
    own: list[EventLine] | None = None


@dataclass
class Batch:
    """Chunks of one `take`, in order, with the rows that the steps add.

    `old_minutes`: by partition, minutes whose windows must be recomputed once the batch is stored. `poison`:
    (partition, offset, why) of records that are not chunks.
    """

    chunks: list[Chunk]
    ledger: list[LedgerLine] = field(default_factory=list)
    old_minutes: dict[int, set[int]] = field(default_factory=dict)
    poison: list[tuple[int, int, str]] = field(default_factory=list)

    def fresh(self) -> Sequence[tuple[int, list[EventLine]]]:
        """(partition, new events) of each chunk that has any."""
        return [(chunk.partition, chunk.fresh) for chunk in self.chunks if chunk.fresh]

    def lines(self) -> bytes:
        """The new events as `JSONEachRow`, untouched bytes of the chunks."""
        return b"".join(chunk.fresh_lines for chunk in self.chunks)
