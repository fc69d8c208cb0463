"""Windows and user states out of stored events: the worker's own steps over a clock that follows the events.

Reads: chunks of `stored`. Writes: `windows` and `user_state` of a replay's database. Cells of minutes that are hot at
the time of receipt are counted, those of older ones are recomputed from the events at the end, both as in a worker; the
shards are those of the workers, so that what they write after a swap replaces these rows. On failure: the replay's
tables are left half full and are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from deploy.replay.request import Span
from schemas.clock import Clock, ManualClock
from schemas.wire import encode_lines
from sinks.warehouse import Warehouse
from stream_processors.batch import Batch, Chunk
from stream_processors.ids import IdIndex
from stream_processors.path import Step, roll_up_windows, update_users
from stream_processors.processor import Processor
from stream_processors.recovery import Recovery
from stream_processors.settings import ProcessorSettings
from stream_processors.sql import Roles, groups, text, text_list, user_state_columns
from stream_processors.state import PartitionState, shard_name
from stream_processors.users import RoleTable, UserKey, Users, UserState
from stream_processors.windows import Windows

STEPS: Mapping[str, Step] = {"windows": roll_up_windows, "user_state": update_users}
RECOMPUTED_AT_ONCE = 2000


class VirtualClock(ManualClock):
    """Says what the events say; never goes back."""

    def advance_to(self, now: float) -> None:
        """Move on, unless that lies in the past."""
        self.advance(max(0.0, now - self.now()))


class FreshRecovery(Recovery):
    """Partitions begin empty. A user's state begins with the events outside the span, which are not replayed."""

    def __init__(
        self, warehouse: Warehouse, roles: Mapping[str, Roles], clock: Clock, settings: ProcessorSettings, span: Span
    ) -> None:
        super().__init__(
            warehouse,
            roles,
            clock,
            partitions=settings.partitions,
            recent_ids=settings.recent_ids,
            users_in_memory=settings.users_in_memory,
            hot_minutes=settings.hot_minutes,
        )
        self._shadow, self._settings, self._declared, self._span = warehouse, settings, roles, span
        self._tables = {pack: RoleTable(declared) for pack, declared in roles.items()}

    def load(self, partitions: Iterable[int]) -> dict[int, PartitionState]:
        """Empty states."""
        return {partition: self._empty(partition) for partition in partitions}

    def _empty(self, partition: int) -> PartitionState:
        settings = self._settings
        return PartitionState(
            partition,
            settings.partitions,
            IdIndex(lambda tenant, event_ids: {}, recent=settings.recent_ids),
            Windows(shard_name(partition, settings.partitions), hot_minutes=settings.hot_minutes),
            Users(self._tables, most=settings.users_in_memory),
        )

    def stored_users(self, keys: Iterable[UserKey]) -> list[UserState]:
        """States as they were written by this replay; of others what the events outside the span say."""
        wanted = set(keys)
        found = super().stored_users(wanted)
        if not self._span.is_whole:
            found += self._outside(wanted - {(state.tenant, state.user_id) for state in found})
        return found

    def _outside(self, keys: set[UserKey]) -> list[UserState]:
        by_tenant: dict[str, list[str]] = {}
        for tenant, user_id in sorted(keys):
            by_tenant.setdefault(tenant, []).append(user_id)
        states: list[UserState] = []
        for tenant, users in by_tenant.items():
            for some in groups(users):
                rows = self._shadow.query(
                    f"SELECT {user_state_columns(self._declared)} FROM events AS e FINAL WHERE tenant = {text(tenant)}"
                    f" AND user_id IN {text_list(some)}"
                    f" AND NOT {self._span.condition('e.timestamp')} GROUP BY tenant, user_id"
                )
                states += [msgspec.convert(row, UserState, strict=False) for row in rows]
        return states


class Rollups:
    """Feeds chunks to a processor and writes what they change."""

    def __init__(
        self,
        shadow: Warehouse,
        roles: Mapping[str, Roles],
        settings: ProcessorSettings,
        span: Span,
        what: Sequence[str],
    ) -> None:
        self._shadow, self._clock = shadow, VirtualClock(0.0)
        self._recovery = FreshRecovery(shadow, roles, self._clock, settings, span)
        path = tuple(step for name, step in STEPS.items() if name in what)
        self._processor = Processor(self._recovery, self._clock, path)

    def take(self, chunk: Chunk, now: float) -> None:
        """Run one chunk, received by `now` (Unix seconds), and write what changed."""
        self._clock.advance_to(now)
        batch = self._processor.run(Batch([chunk]))
        self._processor.stored(batch)
        self._write()

    def finish(self) -> None:
        """Recompute the minutes that were too old to be counted."""
        for state in list(self._processor.states.values()):
            self._clock.sleep(60.0)
            while minutes := state.windows.take_stale(self._clock.now(), most=RECOMPUTED_AT_ONCE):
                version = state.windows.next_version(self._clock.now())
                cells = self._recovery.recompute(state.partition, minutes, version)
                self._shadow.insert_lines("windows", encode_lines(cells))

    def _write(self) -> None:
        for state in self._processor.states.values():
            now = self._clock.now()
            self._shadow.insert_lines("windows", encode_lines(state.windows.take_changed(now)))
            version = state.windows.next_version(now)
            self._shadow.insert_lines("user_state", encode_lines(state.users.take_changed(version)))
            state.users.shrink()
