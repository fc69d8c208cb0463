"""The event sink: what a worker hands over before it may acknowledge.

Reads: one batch at a time. Writes: `events`, `duplicates`, `rejected_events`, then `ledger`, in this order, so that no
count stands for rows that are not there. Guarantee: when `write` returns, everything of the batch is stored; at least
once, and harmless when repeated (every table is Replacing, keyed by what the batch itself says). On failure: while the
warehouse cannot take rows it waits and tries again, for ever, or until `stopping`; a line that the warehouse refuses
becomes a dead letter with its bytes, and the rest of the batch is stored; a flood of such lines stops the worker
instead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final, Protocol

import msgspec

from schemas.clock import Clock
from schemas.flood import Flood, FloodGuard
from schemas.topics import EVENTS
from schemas.wire import LedgerLine, RejectedLine, encode_lines
from sinks.codes import RowsRefused
from sinks.dead_letters import count_refused, refused_line
from sinks.retry import with_retries
from sinks.settings import WriterSettings

log = logging.getLogger(__name__)

_ADVICE: Final = "Compare the columns of `events` with the packs: `headrace migrate --dry-run`"


class Inserts(Protocol):
    """The part of `Warehouse` that this module uses."""

    def insert_lines(self, table: str, ndjson: bytes) -> None: ...


@dataclass(frozen=True)
class EventBatch:
    """`events`, `duplicates`: newline-ended lines, as they came. `ledger`, `rejected`: rows of those tables."""

    events: bytes = b""
    ledger: Sequence[LedgerLine] = ()
    rejected: Sequence[RejectedLine] = ()
    duplicates: bytes = b""


@dataclass
class WriteResult:
    """`inserted`: lines stored in `events`. `refused`: lines that went to the dead letters instead."""

    inserted: int = 0
    refused: list[RejectedLine] = field(default_factory=list)


class EventSink:
    """Stores batches. One call at a time per thread; `write` blocks."""

    def __init__(
        self,
        warehouse: Inserts,
        clock: Clock,
        random: Random,
        settings: WriterSettings | None = None,
        stopping: Callable[[], bool] = lambda: False,
        guard: FloodGuard | None = None,
    ) -> None:
        self._guard = guard or FloodGuard(EVENTS)
        self._warehouse = warehouse
        self._clock = clock
        self._random = random
        self._settings = settings or WriterSettings()
        self._stopping = stopping

    def write(self, batch: EventBatch) -> WriteResult:
        """Store `batch`; returns when it is durable.

        Raises `Permanent` when the warehouse refuses a statement or rows of our own (its `table` says where), `Fatal`
        when it refuses our password, `Flood` when it refuses most lines of the batch, or too many of all, `Retryable`
        only after `stopping` turned true.
        """
        result = self._write_events(batch.events)
        self._judge(result)
        self._write_duplicates(batch.duplicates.splitlines(keepends=True))
        ledger = list(batch.ledger)
        if result.refused:
            ledger += count_refused(result.refused)
        self.write_rows("rejected_events", [*batch.rejected, *result.refused])
        self.write_rows("ledger", ledger)
        return result

    def write_rows(self, table: str, rows: Sequence[msgspec.Struct]) -> None:
        """Store rows of our own making in `table`, under the same promises."""
        if rows:
            self._insert(table, encode_lines(rows))

    def _insert(self, table: str, ndjson: bytes) -> None:
        with_retries(
            partial(self._warehouse.insert_lines, table, ndjson),
            self._clock,
            random=self._random,
            settings=self._settings.retry,
            stopping=self._stopping,
        )

    def _write_events(self, lines: bytes) -> WriteResult:
        if not lines.strip():
            return WriteResult()
        try:
            self._insert("events", lines)
            return WriteResult(inserted=lines.count(b"\n") + (not lines.endswith(b"\n")))
        except RowsRefused as error:
            # Its text quotes the rows; only the code goes into the log.
            log.error("the warehouse refused rows of a batch with code %d; looking for the lines", error.code)
        each = [line for line in lines.split(b"\n") if line.strip()]
        refused = self._bisect(each, total=len(each))
        return WriteResult(inserted=len(each) - len(refused), refused=refused)

    def _write_duplicates(self, lines: Sequence[bytes]) -> None:
        """Store what can be stored of them; the ledger counts the others, too."""
        try:
            if lines:
                self._insert("duplicates", b"".join(lines))
        except RowsRefused as error:
            if len(lines) == 1:
                log.error("the warehouse refused a duplicate with code %d; it is counted, and not kept", error.code)
                return
            middle = len(lines) // 2
            self._write_duplicates(lines[:middle])
            self._write_duplicates(lines[middle:])

    def _bisect(self, lines: Sequence[bytes], total: int) -> list[RejectedLine]:
        """Store what can be stored of `lines`, and return the others as dead letters."""
        refused: list[RejectedLine] = []
        waiting = [list(lines)]
        while waiting:
            part = waiting.pop()
            try:
                self._insert("events", b"\n".join(part) + b"\n")
            except RowsRefused as error:
                if len(part) == 1:
                    refused.append(refused_line(part[0], str(error), self._clock.now()))
                    self._check_flood(refused, total, error)
                    continue
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
        return refused

    def _judge(self, result: WriteResult) -> None:
        self._guard.good(result.inserted)
        for line in result.refused:
            self._guard.bad(f"chunk {line.chunk}", line.message, line.received_at)

    def _check_flood(self, refused: Sequence[RejectedLine], total: int, error: RowsRefused) -> None:
        """Stop within a batch, before anything of it is a dead letter."""
        limit = self._settings
        if len(refused) < limit.flood_lines or len(refused) < limit.flood_share * total:
            return
        bad = [line for line in refused if not self._guard.passes(line.received_at)]
        if len(bad) >= limit.flood_lines and len(bad) >= limit.flood_share * total:
            raise Flood(self._guard.topic, f"chunk {bad[0].chunk}", len(bad), total, str(error), _ADVICE)
