"""Flushing: once a second the changed window cells and user states become rows, and the checkpoint moves on.

Writes absolute rows, so a flush that is repeated, or cut off by a crash, changes nothing. Cells go to the `windows`
table and to the `headrace.rollups` topic, user states to `user_state`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

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


class _Changes(NamedTuple):
    """What one flush of a partition has to write. `covered`: Unix seconds that the checkpoint moves to."""

    partition: int
    shard: str
    cells: list[WindowCell]
    users: list[UserState]
    stale: list[int]
    covered: float
    version: int


def _shrink(state: PartitionState) -> None:
    state.users.shrink()


def _put_back(state: PartitionState, changes: _Changes, now: float) -> None:
    state.windows.touch(changes.cells, now)
    state.windows.mark_stale(changes.stale, now)
    state.users.touch(changes.users)


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
        return sum(self._flush_partition(changes) for changes in self._processor.snapshot(self._take))

    def _take(self, state: PartitionState) -> _Changes:
        now = self._clock.now()
        cells = state.windows.take_changed(now)
        users = state.users.take_changed(int(now * 1000))
        stale = state.windows.take_stale(now)
        waiting = state.windows.stale_since()
        covered = now if waiting is None else min(now, waiting)
        return _Changes(state.partition, state.shard, cells, users, stale, covered, state.windows.next_version(now))

    def _flush_partition(self, changes: _Changes) -> int:
        cells = list(changes.cells)
        try:
            cells += self._recovery.recompute(changes.partition, changes.stale, changes.version)
            self._write(changes.shard, cells, changes.users, changes.covered)
        except BaseException:
            self._processor.update(changes.partition, lambda state: _put_back(state, changes, self._clock.now()))
            raise
        self._processor.update(changes.partition, _shrink)
        return len(cells) + len(changes.users)

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
