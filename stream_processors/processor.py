"""The worker's core, without Kafka: records in, rows out. Everything here can be called from a test."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from schemas.clock import Clock
from schemas.wire import EventLine
from stream_processors.batch import Batch
from stream_processors.decode import decode_batch
from stream_processors.path import PATH
from stream_processors.ports import Record
from stream_processors.recovery import Recovery
from stream_processors.state import PartitionState


class Processor:
    """Holds the state of the assigned partitions and runs batches along the path.

    One batch at a time; flushes may run beside it (both take the lock for their short work in memory).
    """

    def __init__(self, recovery: Recovery, clock: Clock) -> None:
        self._recovery = recovery
        self._clock = clock
        self.lock = threading.Lock()
        self.states: dict[int, PartitionState] = {}

    def process(self, records: Sequence[Record]) -> Batch:
        """Run records along the path; loads the state of partitions that are new here.

        Raises `Retryable` before anything changed when the warehouse cannot be asked; the caller tries again.
        """
        batch = decode_batch(records)
        self._load_states({chunk.partition for chunk in batch.chunks})
        with self.lock:
            self._load_users(batch)
            now = self._clock.now()
            for step in PATH:
                step(batch, self.states, now)
            for state in self.states.values():
                state.ids.settle()
        return batch

    def stored(self, batch: Batch) -> None:
        """Tell that the batch's rows are durable: windows of old minutes may be recomputed from them now."""
        now = self._clock.now()
        with self.lock:
            for partition, minutes in batch.old_minutes.items():
                if partition in self.states:
                    self.states[partition].windows.mark_stale(minutes, now)

    def forget(self, partitions: Sequence[int] | None = None) -> None:
        """Drop the state of revoked partitions (all of them when None)."""
        with self.lock:
            for partition in list(self.states) if partitions is None else partitions:
                self.states.pop(partition, None)

    def _load_states(self, partitions: set[int]) -> None:
        for partition in sorted(partitions - self.states.keys()):
            state = self._recovery.load(partition)
            with self.lock:
                self.states[partition] = state

    def _load_users(self, batch: Batch) -> None:
        by_partition: dict[int, list[EventLine]] = {}
        for chunk in batch.chunks:
            by_partition.setdefault(chunk.partition, []).extend(chunk.events)
        for partition, events in by_partition.items():
            users = self.states[partition].users
            missing = users.missing(events)
            if missing:
                users.load(self._recovery.stored_users(missing))


def describe_states(states: Mapping[int, PartitionState]) -> dict[str, int]:
    """Sizes for the self-metrics: ids, window cells and users in memory, over all partitions."""
    return {
        "ids": sum(len(state.ids) for state in states.values()),
        "cells": sum(len(state.windows) for state in states.values()),
        "users": sum(len(state.users) for state in states.values()),
    }
