"""Flushing: changed window cells become rows once a second, user states and the checkpoint every few seconds.

Writes absolute rows, so a flush that is repeated, or cut off by a crash, changes nothing. Cells go to the `windows`
table and to the `headrace.rollups` topic, user states to `user_state`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from schemas.clock import Clock
from schemas.wire import WindowCell, encode_lines
from stream_processors.checkpoints import CheckpointRow, checkpoint_name
from stream_processors.ports import WarehousePort
from stream_processors.processor import Processor
from stream_processors.recovery import Recovery
from stream_processors.state import PartitionState
from stream_processors.users import UserState
from stream_processors.windows import LONG_AGO

log = logging.getLogger("headrace.worker")

Emit = Callable[[bytes], None]


class _Changes(NamedTuple):
    """What one flush has to write of a partition. `covered`: where the checkpoint moves to, Unix seconds by the
    warehouse's clock.

    `user_lines` are the states as they were at the snapshot; `users` (empty between user flushes) go on changing.
    """

    partition: int
    shard: str
    cells: list[WindowCell]
    users: list[UserState]
    user_lines: bytes
    stale: list[int]
    covered: float
    version: int
    epoch: int


class Flusher:
    """Writes what changed in a processor's partitions. `flush` blocks; raises `Retryable` with nothing forgotten."""

    def __init__(
        self,
        processor: Processor,
        recovery: Recovery,
        warehouse: WarehousePort,
        emit: Emit,
        clock: Clock,
        *,
        user_seconds: float = 5.0,
        holds: Callable[[], bool] = lambda: True,
    ) -> None:
        """`user_seconds`: user states are written, and the checkpoint moved, no more often than this.

        `holds`: whether the partitions are ours for sure; while not, nothing is flushed (`stream_processors.lease`).
        """
        self._processor = processor
        self._recovery = recovery
        self._warehouse = warehouse
        self._emit = emit
        self._clock = clock
        self._user_seconds = user_seconds
        self._users_due = 0.0
        self._holds = holds

    def flush(self, *, everything: bool = False) -> int:
        """Flush every partition; returns the number of rows written. `everything`: user states, too, at once."""
        with_users = everything or self._clock.now() >= self._users_due
        if with_users:
            self._processor.follow_swap(self._recovery.epoch())
        ahead = self._ahead() if with_users else 0.0
        now = self._clock.now()
        if not self._holds():  # after `now`, from which the versions are made: a process may be stopped at any point
            log.warning("not flushed: the group has not answered lately, so our partitions may be another's")
            return 0
        changes = self._processor.snapshot(lambda state, since: _take(state, now, since, with_users, ahead))
        try:
            written = self._write(changes, now, with_users)
        except BaseException:
            for one in changes:
                self._put_back(one, now)
            raise
        if with_users:
            self._users_due = now + self._user_seconds
            for one in changes:
                self._processor.update(one.partition, _shrink)
        return written

    def _write(self, changes: Sequence[_Changes], now: float, with_users: bool) -> int:
        cells = [cell for one in changes for cell in one.cells]
        for one in changes:
            cells += self._recovery.recompute(one.partition, one.stale, one.version)
        if cells:
            lines = encode_lines(cells)
            self._warehouse.insert_lines("windows", lines)
            self._emit(lines)
        self._warehouse.insert_lines("user_state", b"".join(one.user_lines for one in changes))
        if with_users and (cells or any(one.users for one in changes)):
            rows = [CheckpointRow(checkpoint_name(one.epoch), one.shard, one.covered, one.version) for one in changes]
            self._warehouse.insert_lines("checkpoints", encode_lines(rows))
        return len(cells) + sum(len(one.users) for one in changes)

    def _ahead(self) -> float:
        """Seconds that our clock is ahead of the warehouse's, rounded up: checkpoints are compared with its times."""
        there = self._recovery.warehouse_now()
        return self._clock.now() - there

    def _put_back(self, changes: _Changes, now: float) -> None:
        def put_back(state: PartitionState) -> None:
            state.windows.touch(changes.cells, now)
            state.windows.mark_stale(changes.stale, now, LONG_AGO)
            state.users.touch(changes.users)

        self._processor.update(changes.partition, put_back)


def _take(state: PartitionState, now: float, since: float, with_users: bool, ahead: float) -> _Changes:
    cells = state.windows.take_changed(now)
    version = state.windows.next_version(now)
    users = state.users.take_changed(version) if with_users else []
    stale = state.windows.take_stale(now)
    waiting = state.windows.stale_since()
    covered = min(now, since) if waiting is None else min(now, since, waiting)
    lines = encode_lines(users)
    covered = max(0.0, covered - ahead)
    return _Changes(state.partition, state.shard, cells, users, lines, stale, covered, version, state.epoch)


def _shrink(state: PartitionState) -> None:
    state.users.shrink()
