"""Users whose events are not kept: taken, counted in the ledger as `suppressed`, and stored nowhere.

Decided before deduplication, by user and time of receipt alone: a chunk that is read again gives the same count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from schemas.clock import Clock
from schemas.ledger import SUPPRESSED
from schemas.wire import EventLine, LedgerLine
from stream_processors.batch import Batch, Chunk

Spans = Mapping[tuple[str, str], Sequence[tuple[float, float]]]
"""(tenant, user) -> from when on, and until when, events that are received are dropped; Unix seconds."""

REFRESH_SECONDS: Final = 2.0
"""Age of the spans, at most, when a batch is judged by them: much less than the delay with which a span begins."""


class SuppressionPort(Protocol):
    """Where the spans stand."""

    def spans(self) -> Spans:
        """All of them. Blocks; raises `Retryable`."""
        ...


class Suppression:
    """Takes the events of suppressed users out of batches. Used from one thread at a time."""

    def __init__(self, port: SuppressionPort | None, clock: Clock) -> None:
        """Without a port nobody is suppressed."""
        self._port, self._clock = port, clock
        self._spans: Spans = {}
        self._read_at = float("-inf")

    def drop(self, batch: Batch) -> None:
        """Take them out, and count them. Raises `Retryable`, before anything changed."""
        if self._port is not None and self._clock.monotonic() - self._read_at > REFRESH_SECONDS:
            asked = self._clock.monotonic()
            self._spans = self._port.spans()
            self._read_at = asked
        if self._spans:
            for chunk in batch.chunks:
                self._drop_of(chunk, batch)

    def _drop_of(self, chunk: Chunk, batch: Batch) -> None:
        dropped = [self._is_dropped(event) for event in chunk.events]
        if not any(dropped):
            return
        counts = Counter(
            (event.tenant, int(event.received_at) // 60 * 60)
            for event, gone in zip(chunk.events, dropped, strict=True)
            if gone
        )
        batch.ledger.extend(
            LedgerLine(tenant, minute, SUPPRESSED, "", chunk.number, n, 1) for (tenant, minute), n in counts.items()
        )
        lines = zip(chunk.value.splitlines(keepends=True), dropped, strict=True)
        chunk.value = b"".join(line for line, gone in lines if not gone)
        chunk.events = [event for event, gone in zip(chunk.events, dropped, strict=True) if not gone]

    def _is_dropped(self, event: EventLine) -> bool:
        spans = self._spans.get((event.tenant, event.user_id))
        return spans is not None and any(since <= event.received_at < until for since, until in spans)
