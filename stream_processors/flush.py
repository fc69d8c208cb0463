"""Flushing: once a second the changed window cells and user states become rows, and the checkpoint moves on.

Writes absolute rows, so a flush that is repeated, or cut off by a crash, changes nothing. Cells go to the `windows`
table and to the `headrace.rollups` topic, user states to `user_state`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from schemas.clock import Clock
from schemas.wire import WindowCell, encode_lines
from stream_processors.ports import WarehousePort
from stream_processors.processor import Processor
from stream_processors.recovery import Recovery
from stream_processors.state import PartitionState
from stream_processors.users import UserState

Emit = Callable[[bytes], None]


class CheckpointRow(msgspec.Struct, frozen=True):
    """A row of `checkpoints`. `covered_until`: Unix seconds, by inserted_at."""

    name: str
    shard: str
    covered_until: float
    version: int


class Flusher:
    """Writes what changed in a processor's partitions. `flush` blocks; raises `Retryable` with nothing forgotten."""

    def __init__(
        self, processor: Processor, recovery: Recovery, warehouse: WarehousePort, emit: Emit, clock: Clock
    ) -> None:
        self._processor = processor
        self._recovery = recovery
        self._warehouse = warehouse
        self._emit = emit
        self._clock = clock

    def flush(self) -> int:
        """Flush every partition; returns the number of rows written."""
        return sum(self._flush_partition(state) for state in list(self._processor.states.values()))

    def _flush_partition(self, state: PartitionState) -> int:
        now = self._clock.now()
        with self._processor.lock:
            cells = state.windows.take_changed(now)
            users = state.users.take_changed(int(now * 1000))
            minutes = state.windows.take_stale(now)
            waiting = state.windows.stale_since()
        try:
            if minutes:
                cells += self._recovery.recompute(state.partition, minutes, state.windows.next_version(now))
            self._write(state.shard, cells, users, now if waiting is None else min(now, waiting))
        except BaseException:
            with self._processor.lock:
                state.windows.touch(cells, now)
                state.windows.mark_stale(minutes, now)
                state.users.touch(users)
            raise
        with self._processor.lock:
            state.users.shrink()
        return len(cells) + len(users)

    def _write(self, shard: str, cells: Sequence[WindowCell], users: Sequence[UserState], covered: float) -> None:
        if cells:
            lines = encode_lines(cells)
            self._warehouse.insert_lines("windows", lines)
            self._emit(lines)
        if users:
            self._warehouse.insert_lines("user_state", encode_lines(users))
        if cells or users:
            checkpoint = CheckpointRow("processor", shard, covered, int(self._clock.now() * 1000))
            self._warehouse.insert_lines("checkpoints", encode_lines([checkpoint]))
