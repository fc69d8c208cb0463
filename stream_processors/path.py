"""The path of an event through a worker, on one screen: the steps, in order.

Reads: chunks of `headrace.events`. Writes: rows of `events` and `ledger` (by the sink, before the offset is
acknowledged); window cells and user states follow within a second (`stream_processors.flush`). Guarantee: effectively
once per (tenant, event_id). On failure: a record that is no chunk goes to the dead letters with its reason; a passing
fault of the warehouse holds the offset and is tried again; anything else ends the process before the offset moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from stream_processors.batch import Batch
from stream_processors.dedup import deduplicate
from stream_processors.late import tag_late
from stream_processors.state import PartitionState

Step = Callable[[Batch, Mapping[int, PartitionState], float], None]


def drop_duplicates(batch: Batch, states: Mapping[int, PartitionState], now: float) -> None:
    """Keep the events whose id is not stored yet."""
    deduplicate(batch, {partition: state.ids for partition, state in states.items()})


def tag_late_events(batch: Batch, states: Mapping[int, PartitionState], now: float) -> None:
    """Count what came over 24 h late."""
    tag_late(batch)


def roll_up_windows(batch: Batch, states: Mapping[int, PartitionState], now: float) -> None:
    """Count into one-minute cells by event time."""
    for partition, tenant, events in batch.fresh():
        old = states[partition].windows.add(tenant, events, now)
        if old:
            batch.old_minutes.setdefault(partition, set()).update(old)


def update_users(batch: Batch, states: Mapping[int, PartitionState], now: float) -> None:
    """Fold into the state of each event's user."""
    for partition, tenant, events in batch.fresh():
        states[partition].users.add(tenant, events)


PATH: Final[tuple[Step, ...]] = (
    drop_duplicates,
    tag_late_events,
    roll_up_windows,
    update_users,
)
