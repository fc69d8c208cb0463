"""Rebuilding a partition's state from ClickHouse: what makes a crash, a rebalance or a late event harmless.

The events are the truth. Ids are fingerprints of all stored events of the partition; hot window cells are counted
again; older minutes and users that changed since the last checkpoint are recomputed and written anew.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.clock import Clock
from schemas.wire import CorrectionLine, WindowCell, encode_lines
from stream_processors.checkpoints import covered_until, last_swap
from stream_processors.ids import IdIndex
from stream_processors.ports import WarehousePort
from stream_processors.sql import (
    WINDOW_COLUMNS,
    WINDOW_KEY,
    Roles,
    groups,
    moment,
    pair_list,
    text,
    text_list,
    user_state_columns,
)
from stream_processors.state import PartitionState, shard_name
from stream_processors.users import RoleTable, UserKey, Users, UserState
from stream_processors.windows import CellKey, HotCell, Windows, cell_key

log = logging.getLogger("headrace.worker")

LOADS = 5
"""Times that a partition's state is read, at most, until nobody else stored events meanwhile."""
OVERLAP_SECONDS = 60.0
"""How far before the checkpoint recovery looks again: covers inserts that take long."""

_DAY_SECONDS = 86_400

IDS_AT_ONCE = 20_000_000
"""Fingerprints that one answer of the warehouse brings, about (10 bytes each)."""

Ids = npt.NDArray[np.uint64]


class Recount(NamedTuple):
    """What minutes and users look like once events were taken away from them.

    `cells`: rows of `windows`, zeros where nothing is left. `hot`: those that are counted in memory. `gone`: rows for
    the users who have no event left, zeros too. Their versions are still to be set.
    """

    minutes: list[int]
    keys: list[UserKey]
    cells: list[WindowCell]
    hot: list[HotCell]
    users: list[UserState]
    gone: list[UserState]


class Recovery:
    """Reads back what the warehouse holds. All methods block and raise `Retryable` when it is away."""

    def __init__(
        self,
        warehouse: WarehousePort,
        roles: Mapping[str, Roles],
        clock: Clock,
        *,
        partitions: int,
        recent_ids: int,
        users_in_memory: int,
        hot_minutes: int,
    ) -> None:
        self._warehouse = warehouse
        self._roles = roles
        self._role_tables = {pack: RoleTable(declared) for pack, declared in roles.items()}
        self._clock = clock
        self.partitions = partitions
        self._recent_ids = recent_ids
        self._users_in_memory = users_in_memory
        self._hot_minutes = hot_minutes

    def load(self, partitions: Collection[int]) -> dict[int, PartitionState]:
        """The states of partitions as the stored events imply them.

        Ids and counts are read one after the other, so they must speak of the same rows: an earlier owner that does
        not know that it is none any more may store a batch in between. Then all of it is read again.
        """
        mine = self._mine(partitions)
        states: dict[int, PartitionState] = {}
        for _ in range(LOADS):
            before = self._rows(mine)
            at_once = max(1, IDS_AT_ONCE * len(partitions) // max(1, int(before["n"])))
            order = sorted(partitions)
            for some in (order[start : start + at_once] for start in range(0, len(order), at_once)):
                ids = self._fingerprints(some)
                states.update(self._load(ids))
            if self._rows(mine) == before:
                break
            log.warning("partitions %s: events were stored while they were loaded; loading again", sorted(partitions))
        return states

    def _mine(self, partitions: Iterable[int]) -> str:
        return f"slot % {self.partitions} IN ({','.join(map(str, sorted(partitions)))})"

    def _rows(self, mine: str) -> Mapping[str, Any]:
        """Changes when rows are added to these partitions (and sometimes when parts are merged)."""
        return self._warehouse.query(
            f"SELECT count() AS n, toUnixTimestamp64Milli(max(inserted_at)) AS at FROM events WHERE {mine}"
        )[0]

    def _load(self, ids: Mapping[int, Ids]) -> dict[int, PartitionState]:
        """The states of the partitions whose ids these are: one scan each for windows and users of all of them."""
        if 0 in ids:
            self._drop_foreign_windows()
        epoch, last = self.epoch(), self._last_version()
        states = {
            partition: PartitionState(
                partition,
                self.partitions,
                IdIndex(partial(self.chunks_of, partition), recent=self._recent_ids, stored=some),
                Windows(shard_name(partition, self.partitions), hot_minutes=self._hot_minutes),
                Users(self._role_tables, most=self._users_in_memory),
                epoch,
            )
            for partition, some in ids.items()
        }
        since = {
            partition: max(0.0, covered_until(self._warehouse, state.shard, epoch) - OVERLAP_SECONDS)
            for partition, state in states.items()
        }
        for state in states.values():
            state.windows.go_on_after(last)
        self._load_windows(states, since)
        self._load_changed_users(states, since)
        return states

    def chunks_of(self, partition: int, tenant: str, event_ids: Sequence[str]) -> dict[str, int]:
        """The chunk that brought each of these ids to the partition, for those that are stored, or were moved away."""
        found: dict[str, int] = {}
        where = f"slot % {self.partitions} = {partition} AND tenant = {text(tenant)}"
        for some in groups(event_ids):
            rows = self._warehouse.query(
                "SELECT event_id, argMin(chunk, (gone, chunk)) AS chunk FROM ("
                f"SELECT event_id, chunk, 0 AS gone FROM events WHERE {where} AND event_id IN {text_list(some)}"
                f" UNION ALL SELECT event_id, chunk, 1 AS gone FROM conflicts WHERE {where} AND moved"
                f" AND event_id IN {text_list(some)}) GROUP BY event_id"
            )
            found.update((str(row["event_id"]), int(row["chunk"])) for row in rows)
        return found

    def stored_users(self, keys: Iterable[UserKey]) -> list[UserState]:
        """The states of these users as they were last written; users without one are left out."""
        by_tenant: dict[str, list[str]] = {}
        for tenant, user_id in keys:
            by_tenant.setdefault(tenant, []).append(user_id)
        states: list[UserState] = []
        for tenant, user_ids in by_tenant.items():
            for some in groups(user_ids):
                rows = self._warehouse.query(
                    f"SELECT {_STATE_COLUMNS} FROM user_state FINAL WHERE tenant = {text(tenant)} AND events > 0"
                    f" AND user_id IN {text_list(some)}"
                )
                states.extend(map(_user_state, rows))
        return states

    def recompute(self, partition: int, minutes: Sequence[int], version: int) -> list[WindowCell]:
        """The window cells of these minutes (Unix seconds), counted from the stored events."""
        if not minutes:
            return []
        shard = shard_name(partition, self.partitions)
        rows = self._warehouse.query(
            f"SELECT {WINDOW_COLUMNS}, uniqExact(user_id) AS users FROM events FINAL"
            f" WHERE slot % {self.partitions} = {partition} AND {_minutes_are(minutes)}"
            f" GROUP BY {WINDOW_KEY}"
        )
        return [
            WindowCell(
                row["tenant"],
                int(row["minute_at"]),
                row["event_type"],
                row["kind"],
                row["campaign_id"],
                row["creative_id"],
                row["segment"],
                row["channel"],
                shard,
                int(row["events"]),
                int(row["users"]),
                int(row["amount"]),
                int(row["late"]),
                version,
            )
            for row in rows
        ]

    def recount(self, partition: int, lines: Sequence[CorrectionLine], oldest_hot: int) -> Recount:
        """Minutes and users that events were taken away from, counted from what is stored now."""
        minutes = sorted({line.minute for line in lines})
        keys = sorted({(line.tenant, line.user_id) for line in lines})
        hot = [minute for minute in minutes if minute >= oldest_hot]
        mine = f"slot % {self.partitions} = {partition}"
        cells = self.recompute(partition, minutes, 0)
        users = [user for _, user in self._recomputed_users(f"{mine} AND (tenant, user_id) IN {pair_list(keys)}")]
        left = {(state.tenant, state.user_id) for state in users}
        return Recount(
            minutes,
            keys,
            cells + _emptied(shard_name(partition, self.partitions), lines, cells),
            [cell for _, cell in self._hot_cells(f"{mine} AND {_minutes_are(hot)}")] if hot else [],
            users,
            [UserState(*key, 0.0, 0.0) for key in keys if key not in left],
        )

    def store(self, cells: Iterable[WindowCell], users: Iterable[UserState]) -> None:
        """Write rows of `windows` and `user_state`."""
        self._warehouse.insert_lines("windows", encode_lines(cells))
        self._warehouse.insert_lines("user_state", encode_lines(users))

    def _drop_foreign_windows(self) -> None:
        suffix = text(f"/{self.partitions}")
        if self._warehouse.query(f"SELECT 1 AS one FROM windows WHERE NOT endsWith(shard, {suffix}) LIMIT 1"):
            self._warehouse.command(
                f"ALTER TABLE windows DELETE WHERE NOT endsWith(shard, {suffix}) SETTINGS mutations_sync = 1"
            )

    def _fingerprints(self, partitions: Sequence[int]) -> dict[int, Ids]:
        """The fingerprints of all ids of each partition: one scan for all of them."""
        columns = f"xxHash64(concat(tenant, char(0), event_id)), toUInt16(slot % {self.partitions})"
        raw = self._warehouse.query_bytes(
            f"SELECT {columns} FROM events WHERE {self._mine(partitions)} UNION ALL"
            f" SELECT {columns} FROM conflicts WHERE {self._mine(partitions)} AND moved",
            "RowBinary",
        )
        rows = np.frombuffer(raw, dtype=np.dtype([("id", "<u8"), ("partition", "<u2")]))
        return {partition: rows["id"][rows["partition"] == partition] for partition in partitions}

    def epoch(self) -> int:
        """The last swap of tables for rebuilt ones; 0 when there was none."""
        return last_swap(self._warehouse)

    def warehouse_now(self) -> float:
        """What the warehouse's clock says, Unix seconds: `inserted_at` is by it."""
        return float(self._warehouse.query("SELECT toFloat64(now64(3, 'UTC')) AS now")[0]["now"])

    def _last_version(self) -> int:
        """The highest version of any cell or user state: another worker's clock may have been ahead of ours."""
        tables = ("windows", "user_state", "checkpoints")
        highest = ", ".join(f"(SELECT max(version) FROM {table})" for table in tables)
        return int(self._warehouse.query(f"SELECT greatest({highest}) AS version")[0]["version"])

    def _load_windows(self, states: Mapping[int, PartitionState], since: Mapping[int, float]) -> None:
        now = self._clock.now()
        oldest = min(state.windows.oldest_hot(now) for state in states.values())
        for partition, cell in self._hot_cells(f"{self._mine(states)} AND {_since(oldest)}"):
            states[partition].windows.restore(*cell)
        stale = self._warehouse.query(
            f"SELECT DISTINCT slot % {self.partitions} AS partition,"
            " toUnixTimestamp(toStartOfMinute(timestamp)) AS minute_at FROM events"
            f" WHERE {self._inserted_since(since)} AND timestamp < {moment(oldest)}"
        )
        minutes: dict[int, list[int]] = {}
        for row in stale:
            minutes.setdefault(int(row["partition"]), []).append(int(row["minute_at"]))
        for partition, some in minutes.items():
            states[partition].windows.mark_stale(some, now, since[partition])

    def _hot_cells(self, where: str) -> Iterator[tuple[int, HotCell]]:
        """Cells with their partition."""
        rows = self._warehouse.query(
            f"SELECT slot % {self.partitions} AS partition, {WINDOW_COLUMNS}, groupUniqArray(user_id) AS users"
            f" FROM events FINAL WHERE {where} GROUP BY partition, {WINDOW_KEY}"
        )
        for row in rows:
            key = cast(CellKey, tuple(row[name] for name in _CELL_KEY))
            sums = int(row["events"]), int(row["amount"]), int(row["late"])
            yield int(row["partition"]), ((row["tenant"], int(row["minute_at"])), key, row["users"], sums)

    def _load_changed_users(self, states: Mapping[int, PartitionState], since: Mapping[int, float]) -> None:
        changed = f"(SELECT tenant, user_id FROM events WHERE {self._inserted_since(since)})"
        found: dict[int, list[UserState]] = {}
        for partition, user in self._recomputed_users(f"{self._mine(states)} AND (tenant, user_id) IN {changed}"):
            found.setdefault(partition, []).append(user)
        for partition, users in found.items():
            states[partition].users.restore(users)

    def _inserted_since(self, since: Mapping[int, float]) -> str:
        """The condition on rows of these partitions that they came since then, for each its own."""
        either = (
            f"(slot % {self.partitions} = {partition} AND inserted_at >= {moment(at)})"
            for partition, at in sorted(since.items())
        )
        return f"inserted_at >= {moment(min(since.values()))} AND ({' OR '.join(either)})"

    def _recomputed_users(self, where: str) -> list[tuple[int, UserState]]:
        """Users' states as their events imply them, with their partition."""
        rows = self._warehouse.query(
            f"SELECT {user_state_columns(self._roles)}, any(slot % {self.partitions}) AS partition"
            f" FROM events AS e FINAL WHERE {where} GROUP BY tenant, user_id"
        )
        return [(int(row.pop("partition")), _user_state(row)) for row in rows]


_CELL_KEY = ("event_type", "kind", "campaign_id", "creative_id", "segment", "channel")

_STATE_COLUMNS = """tenant, user_id, toFloat64(first_seen) AS first_seen, toFloat64(last_seen) AS last_seen,
        toFloat64(last_active) AS last_active, toFloat64(signed_up_at) AS signed_up_at,
        toFloat64(first_purchase_at) AS first_purchase_at, toFloat64(last_purchase_at) AS last_purchase_at,
        toFloat64(unsubscribed_at) AS unsubscribed_at, events, purchases, monetary_micros, sessions, delivered, opened,
        clicked, segment, toFloat64(segment_at) AS segment_at, version"""


def _emptied(shard: str, lines: Iterable[CorrectionLine], cells: Iterable[WindowCell]) -> list[WindowCell]:
    """Rows of zeros for the cells that events were taken away from, and that nothing is left of.

    Whether such a cell is written in `windows` is not asked: it may be on its way there.
    """
    left = {(cell.tenant, cell.minute, cell_key(cell)) for cell in cells}
    places = {(line.tenant, line.minute, cell_key(line)) for line in lines}
    nothing = (0, 0, 0, 0, 0)  # events, users, amount, late, version
    return [WindowCell(tenant, minute, *key, shard, *nothing) for tenant, minute, key in sorted(places - left)]


def _since(at: float) -> str:
    """The condition on the time, and on its days, by which `events` is ordered; there is nothing before 1970."""
    return f"timestamp >= {moment(at)} AND toDate(timestamp) >= toDate({int(at) // _DAY_SECONDS})"


def _minutes_are(minutes: Sequence[int]) -> str:
    """The condition on `minute_at`; on the time and its days too, without which all of the table is read.

    Parts are of months, `events` is ordered by days, and a range from an old minute to a new one holds all between.
    """
    days = ",".join(f"toDate({day})" for day in sorted({minute // _DAY_SECONDS for minute in minutes}))
    return (
        f"minute_at IN ({','.join(map(str, minutes))}) AND toDate(timestamp) IN ({days})"
        f" AND timestamp >= {moment(min(minutes))} AND timestamp < {moment(max(minutes) + 60)}"
    )


def _user_state(row: Mapping[str, object]) -> UserState:
    return msgspec.convert(dict(row), UserState, strict=False)
