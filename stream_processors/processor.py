"""The worker's core, without Kafka: records in, rows out. Everything here can be called from a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from schemas.clock import Clock
from schemas.wire import EventLine, WindowCell
from stream_processors.batch import Batch
from stream_processors.decode import decode_batch
from stream_processors.layout import check_layout
from stream_processors.path import PATH, Step, update_users
from stream_processors.ports import Record
from stream_processors.recovery import Recovery
from stream_processors.state import PartitionState
from stream_processors.suppression import Suppression
from stream_processors.users import UserKey
from stream_processors.windows import correction, event_key

T = TypeVar("T")

RECOUNT_AT_ONCE = 100
"""Lines of a correction that are looked at together: their users stand in one query, which ClickHouse bounds."""


class Processor:
    """Holds the state of the assigned partitions and runs batches along the path.

    Batches run one at a time. Each is to be stored and then reported by `stored`; a snapshot (`snapshot`) is handed out
    when all that it counts is stored, so what is flushed never says more than what is durable.
    """

    def __init__(
        self,
        recovery: Recovery,
        clock: Clock,
        path: Sequence[Step] = PATH,
        suppression: Suppression | None = None,
    ) -> None:
        """`path`: the steps, in order; a shorter one is for comparisons of the same job (`benchmarks/`).

        `suppression`: whose events are dropped before it; nobody's when not given.
        """
        self.path = path
        self._suppression = suppression or Suppression(None, clock)
        self._recovery = recovery
        self._clock = clock
        self._gate = threading.Lock()
        self._lock = threading.Condition()
        self._unstored: dict[int, float] = {}
        self._batches = 0
        self.states: dict[int, PartitionState] = {}

    def process(self, records: Sequence[Record]) -> Batch:
        """Run records along the path; loads the state of partitions that are new here.

        Raises `Retryable` before anything changed when the warehouse cannot be asked; the caller tries again. Raises
        `Fatal` for chunks of another number of partitions.
        """
        batch = decode_batch(records)
        check_layout(batch.chunks, self._recovery.partitions)
        self._suppression.drop(batch)
        return self.run(batch)

    def run(self, batch: Batch) -> Batch:
        """The same for chunks that are decoded already."""
        with self._gate:
            self._load_states({*(chunk.partition for chunk in batch.chunks), *batch.corrections})
            if batch.corrections:
                self._correct(batch)
            with self._lock:
                if update_users in self.path:
                    self._load_users(batch)
                now = self._clock.now()
                for step in self.path:
                    step(batch, self.states, now)
                for state in self.states.values():
                    state.ids.settle()
                self._batches += 1
                batch.number = self._batches
                self._unstored[batch.number] = now
        return batch

    def stored(self, batch: Batch) -> None:
        """Tell that the batch's rows are durable: windows of old minutes may be recomputed from them now."""
        now = self._clock.now()
        with self._lock:
            # Not `now`: its rows may be much older, after a slow insert or a machine that stood still, and a checkpoint
            # past them would hide these minutes from the next worker.
            since = self._unstored.pop(batch.number, now)
            for partition, minutes in batch.old_minutes.items():
                if partition in self.states:
                    self.states[partition].windows.mark_stale(minutes, now, since)
            self._lock.notify_all()

    def snapshot(self, take: Callable[[PartitionState, float], T]) -> list[T]:
        """Apply `take` to each partition's state, and return when all that these states count is stored.

        `take` must be quick, and gets the time (Unix seconds) before which everything that was processed is stored
        already. New batches go on meanwhile: they are in the next snapshot.
        """
        with self._lock:
            counted = tuple(self._unstored)
            since = min(self._unstored.values(), default=self._clock.now())
            taken = [take(state, since) for state in self.states.values()]
            while any(number in self._unstored for number in counted):
                self._lock.wait()
        return taken

    def update(self, partition: int, change: Callable[[PartitionState], None]) -> None:
        """Apply a quick change to a partition's state, if it is still here."""
        with self._lock:
            state = self.states.get(partition)
            if state is not None:
                change(state)

    def assign(self, partitions: Sequence[int]) -> None:
        """Take over partitions: forget what was remembered and load what is stored.

        Waits until everything that was processed is stored. What is loaded before that would miss those ids, and the
        same events in another chunk would count twice.
        """
        with self._gate:
            self._forget()
            self._load_states(set(partitions))

    def follow_swap(self, epoch: int) -> None:
        """Load everything anew when the tables were exchanged for rebuilt ones since it was loaded.

        What is remembered of users and minutes may follow older code; and what came in while the tables were rebuilt is
        counted again, because the checkpoint was exchanged with them.
        """
        with self._gate:
            if any(state.epoch != epoch for state in self.states.values()):
                partitions = set(self.states)
                self._forget()
                self._load_states(partitions)

    def take_back(self, events: Mapping[int, Sequence[EventLine]]) -> list[WindowCell]:
        """Count without these events, by partition, which were processed and not stored; the cells that changed.

        The batch that they came with is `stored` by now. Their ids are new again, for whoever sends them again.
        """
        batch = Batch(chunks=[])
        with self._gate:
            with self._lock:
                for partition in events.keys() & self.states.keys():
                    for event in events[partition]:
                        self.states[partition].ids.forget(event.tenant, event.event_id)
                        line = correction(event.tenant, event.timestamp, event.user_id, event_key(event))
                        batch.corrections.setdefault(partition, []).append(line)
            self._correct(batch)
        return batch.corrected

    def _forget(self) -> None:
        with self._lock:
            while self._unstored:
                self._lock.wait()
            self.states.clear()

    def _load_states(self, partitions: set[int]) -> None:
        missing = partitions - self.states.keys()
        if missing:
            loaded = self._recovery.load(missing)
            with self._lock:
                self.states.update(loaded)

    def _correct(self, batch: Batch) -> None:
        """Count again what events were taken away from, and write it.

        Waits until all that was counted is stored, and can be read. What was counted before gets lower versions.
        """
        with self._lock:
            while self._unstored:
                self._lock.wait()
        some = [
            (partition, lines[start : start + RECOUNT_AT_ONCE])
            for partition, lines in batch.corrections.items()
            for start in range(0, len(lines), RECOUNT_AT_ONCE)
        ]
        for partition, lines in some:
            state, now = self.states[partition], self._clock.now()
            found = self._recovery.recount(partition, lines, state.windows.oldest_hot(now))
            with self._lock:
                version = state.windows.next_version(now)
                state.windows.replace(found.minutes, found.hot)
                state.users.replace(found.keys, found.users)
                users = [msgspec.structs.replace(user, version=version) for user in (*found.users, *found.gone)]
            cells = [msgspec.structs.replace(cell, version=version) for cell in found.cells]
            self._recovery.store(cells, users)
            batch.corrected += cells

    def _load_users(self, batch: Batch) -> None:
        missing: dict[int, set[UserKey]] = {}
        for chunk in batch.chunks:
            users = self.states[chunk.partition].users
            for tenant, events in chunk.by_tenant.items():
                unknown = users.missing(tenant, events)
                if unknown:
                    missing.setdefault(chunk.partition, set()).update((tenant, user_id) for user_id in unknown)
        for partition, keys in missing.items():
            self.states[partition].users.load(self._recovery.stored_users(keys))


def describe_states(states: Mapping[int, PartitionState]) -> dict[str, int]:
    """Sizes for the self-metrics: ids, window cells and users in memory, over all partitions."""
    return {
        "ids": sum(len(state.ids) for state in states.values()),
        "cells": sum(len(state.windows) for state in states.values()),
        "users": sum(len(state.users) for state in states.values()),
    }
