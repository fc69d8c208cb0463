"""Rolling windows: one-minute cells by event time, from which 5 min, 1 h, 24 h and 7 d are sums.

Cells of the last `hot_minutes` live here and are exact by counting. Older minutes are never counted here: they are
noted as stale and recomputed from the stored events (`stream_processors.recovery`), right by construction. Cells are
absolute for their shard, so writing one twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from sys import intern

from schemas.wire import LATE_AFTER_SECONDS, CorrectionLine, EventLine, WindowCell
from stream_processors.late import is_late

CellKey = tuple[str, str, str, str, str, str]
"""event type, sub-type, campaign, creative, segment, channel."""

Place = tuple[str, int]
"""tenant, minute (Unix seconds)."""

HotCell = tuple[Place, CellKey, Collection[str], tuple[int, int, int]]
"""Place, key, distinct users; events, amount, late."""

LONG_AGO = 0.0
"""Since when rows may be there of which that is not known any more."""

HOLDOUT = "holdout"
"""The sub-type under which deliveries to holdout members are counted: they were not shown anything."""


def cell_key(cell: WindowCell | CorrectionLine) -> CellKey:
    """The key of a cell's row, or of a correction's."""
    return (cell.event_type, cell.subtype, cell.campaign_id, cell.creative_id, cell.segment, cell.channel)


def correction(tenant: str, timestamp: float, user_id: str, key: CellKey) -> CorrectionLine:
    """What says that an event of this cell is not there any more; `timestamp`: Unix seconds."""
    return CorrectionLine(tenant, int(timestamp) // 60 * 60, user_id, *key)


def event_key(event: EventLine) -> CellKey:
    """The key of the cell that an event counts in."""
    return (
        event.event_type,
        HOLDOUT if event.is_holdout else event.subtype,
        event.campaign_id,
        event.creative_id,
        event.segment,
        event.channel,
    )


def interned(key: CellKey) -> CellKey:
    """The same key, of texts that all equal ones share."""
    event_type, subtype, campaign, creative, segment, channel = key
    return intern(event_type), intern(subtype), intern(campaign), intern(creative), intern(segment), intern(channel)


class Cell:
    """Counts of one cell. `users` holds the distinct users, so that the count is exact.

    Someone is in many cells, and a key is one of every minute: texts are interned, else each would have its own.
    """

    __slots__ = ("amount_micros", "changed", "events", "key", "late", "place", "users")

    def __init__(self, place: Place, key: CellKey) -> None:
        self.place = place
        self.key = key
        self.events = 0
        self.users: set[str] = set()
        self.amount_micros = 0
        self.late = 0
        self.changed = False


class Windows:
    """The window cells of one shard ("partition/partitions"), at most about `most_cells` of them."""

    def __init__(self, shard: str, *, hot_minutes: int = 15, most_cells: int = 500_000) -> None:
        self.shard = shard
        self._hot_seconds = hot_minutes * 60
        self._most_cells = most_cells
        self._cells: dict[Place, dict[CellKey, Cell]] = {}
        self._changed: list[Cell] = []
        self._stale: dict[int, tuple[float, float]] = {}
        self._floor = 0
        self._version = 0

    def __len__(self) -> int:
        return sum(map(len, self._cells.values()))

    def oldest_hot(self, now: float) -> int:
        """The first minute (Unix seconds) that is counted here at `now`."""
        return max(int(now - self._hot_seconds) // 60 * 60, self._floor)

    def add(self, tenant: str, events: Iterable[EventLine], now: float) -> set[int]:
        """Count new events of a tenant.

        Returns the minutes that are not hot: to be marked stale once the events are stored. A hot minute is younger
        than a day, so an event of it is late only where the collector's clock is a day ahead of ours.
        """
        oldest, changed, minute = self.oldest_hot(now), self._changed, -1
        cells: dict[CellKey, Cell] = {}
        place: Place = (tenant, minute)
        old: set[int] = set()
        for event in events:
            at = int(event.timestamp) // 60 * 60
            if at != minute:
                if at < oldest:
                    old.add(at)
                    continue
                minute, place = at, (tenant, at)
                cells = self._cells.setdefault(place, {})
            key = event_key(event)
            cell = cells.get(key)
            if cell is None:
                key = interned(key)
                cell = cells[key] = Cell(place, key)
            cell.events += 1
            cell.users.add(intern(event.user_id))
            if event.amount_micros:
                cell.amount_micros += event.amount_micros
            if event.received_at - at > LATE_AFTER_SECONDS and is_late(event):
                cell.late += 1
            if not cell.changed:
                cell.changed = True
                changed.append(cell)
        return old

    def touch(self, cells: Iterable[WindowCell], now: float) -> None:
        """Count these cells as changed again after they could not be written (as stale, when no longer hot)."""
        for row in cells:
            cell = self._cells.get((row.tenant, row.minute), {}).get(cell_key(row))
            if cell is not None:
                self._change(cell)
            else:
                self.mark_stale((row.minute,), now, LONG_AGO)

    def mark_stale(self, minutes: Iterable[int], now: float, since: float | None = None) -> None:
        """Ask for these minutes to be recomputed from the stored events, which may be there `since` then already."""
        for minute in minutes:
            first, _ = self._stale.get(minute, (now if since is None else since, now))
            self._stale[minute] = (first, now)

    def stale_since(self) -> float | None:
        """When the longest-waiting stale minute was first touched; None when none waits."""
        return min((first for first, _ in self._stale.values()), default=None)

    def take_stale(self, now: float, *, quiet: float = 2.0, most: int = 2000) -> list[int]:
        """Stale minutes that nothing touched for `quiet` seconds or that wait for 5 times that, at most `most`.

        They are forgotten here; after a failure, mark them again.
        """
        due = [m for m, (first, last) in self._stale.items() if now - last >= quiet or now - first >= 5 * quiet]
        due = sorted(due)[:most]
        for minute in due:
            del self._stale[minute]
        return due

    def restore(self, place: Place, key: CellKey, users: Iterable[str], sums: tuple[int, int, int]) -> None:
        """Put a hot cell in place, as recomputed: `sums` are events, amount, late; it counts as changed."""
        key = interned(key)
        cell = Cell(place, key)
        cell.users = set(map(intern, users))
        cell.events, cell.amount_micros, cell.late = sums
        self._cells.setdefault(place, {})[key] = cell
        self._change(cell)

    def replace(self, minutes: Collection[int], cells: Iterable[HotCell]) -> None:
        """Forget what was counted in these minutes and put `cells` in its place, as recomputed."""
        for place in [place for place in self._cells if place[1] in minutes]:
            del self._cells[place]
        self._changed = [cell for cell in self._changed if cell.place[1] not in minutes]
        for cell in cells:
            self.restore(*cell)

    def take_changed(self, now: float) -> list[WindowCell]:
        """The cells that changed since the last call, absolute; minutes that are no longer hot are let go after."""
        version = self.next_version(now)
        changed, self._changed = self._changed, []
        rows = [self._row(cell, version) for cell in changed]
        self._let_go(self.oldest_hot(now))
        while len(self) > self._most_cells and len(minutes := {minute for _, minute in self._cells}) > 1:
            self._floor = min(minutes) + 60
            self._let_go(self._floor)
        return rows

    def _let_go(self, oldest: int) -> None:
        for place in [place for place in self._cells if place[1] < oldest]:
            del self._cells[place]

    def _change(self, cell: Cell) -> None:
        if not cell.changed:
            cell.changed = True
            self._changed.append(cell)

    def next_version(self, now: float) -> int:
        """A version above all earlier ones of this shard: milliseconds of `now`."""
        self._version = max(self._version + 1, int(now * 1000))
        return self._version

    def go_on_after(self, version: int) -> None:
        """Give no version up to this one: rows may be stored that were written by a clock ahead of ours."""
        self._version = max(self._version, version)

    def _row(self, cell: Cell, version: int) -> WindowCell:
        cell.changed = False
        tenant, minute = cell.place
        event_type, subtype, campaign_id, creative_id, segment, channel = cell.key
        return WindowCell(
            tenant,
            minute,
            event_type,
            subtype,
            campaign_id,
            creative_id,
            segment,
            channel,
            self.shard,
            cell.events,
            len(cell.users),
            cell.amount_micros,
            cell.late,
            version,
        )
