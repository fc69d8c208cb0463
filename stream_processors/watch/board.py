"""The board: the last day's window cells of all shards, summed by tenant and campaign, minute by minute.

Cells are absolute, so a cell that comes again (a replay, a restart of a worker, a late correction) replaces itself. For
that the cells of the last 20 minutes are kept. Of older minutes only the sums are: where a cell comes again, the minute
is `missed`, and to be counted again from the `windows` table. A day of cells would take a gigabyte at 500 events a
second.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from schemas.wire import WindowCell
from stream_processors.sql import Roles
from stream_processors.windows import HOLDOUT

CellKey = tuple[str, str, str, str, str, str, str, str]

MEASURES: Final = ("impression", "click", "open", "conversion", "purchase", "spend")
"""Roles that are counted; `event` counts every event besides, but those of the system itself."""

SYSTEM: Final = "system"

KEEP_SECONDS: Final = 26 * 3600
"""Of event time, on the board."""
CELL_SECONDS: Final = 1200
"""Of event time, cell by cell: workers count the last quarter of an hour, and write older minutes anew now and then."""
MOST_KEYS: Final = 100_000
"""Keys of cells that are kept for the next minute's."""


class Sum(NamedTuple):
    """Events and amount (millionths) of one measure."""

    events: int = 0
    amount_micros: int = 0

    def plus(self, events: int, amount_micros: int) -> Sum:
        """This sum with more in it."""
        return Sum(self.events + events, self.amount_micros + amount_micros)


class Counted(NamedTuple):
    """What a cell said last."""

    version: int
    events: int
    amount_micros: int


_NOTHING: Final = Counted(0, 0, 0)


class Touched(NamedTuple):
    """A minute of a tenant's measure that changed, and its sum now."""

    tenant: str
    measure: str
    minute: int
    total: Sum


class Board:
    """Sums by (tenant, campaign) and minute; campaign "" is the whole tenant.

    `missed`: minutes (Unix seconds) that cells came for which were let go.
    """

    def __init__(
        self, packs: Iterable[Roles], *, keep_seconds: int = KEEP_SECONDS, cell_seconds: int = CELL_SECONDS
    ) -> None:
        self._measures_of = _measures(packs)
        self._keep, self._keep_cells = keep_seconds, cell_seconds
        self.missed: set[int] = set()
        self._cells: dict[int, dict[CellKey, Counted]] = {}
        # Of what it says of itself a cell has nothing of its own: the same keys come every minute.
        self._keys: dict[CellKey, CellKey] = {}
        self._sums: dict[tuple[str, str], dict[int, dict[str, Sum]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._cells.values()))

    def tenants(self) -> set[str]:
        """Tenants with anything on the board."""
        return {tenant for tenant, campaign in self._sums if not campaign}

    def campaigns(self, tenant: str) -> list[str]:
        """The tenant's campaigns with anything on the board."""
        return sorted(campaign for owner, campaign in self._sums if owner == tenant and campaign)

    def update(self, cells: Iterable[WindowCell], now: float) -> list[Touched]:
        """Take absolute cells; returns the tenants' minutes that changed by it."""
        touched: set[tuple[str, str, int]] = set()
        for cell in cells:
            if cell.minute < now - self._keep:
                continue
            if cell.minute < now - self._keep_cells:
                self.missed.add(cell.minute)
                continue
            for measure in self._put(cell):
                touched.add((cell.tenant, measure, cell.minute))
        self._expire(now)
        return self._totals(touched)

    def recount(self, minutes: Collection[int], cells: Iterable[WindowCell], now: float) -> list[Touched]:
        """Forget these minutes and take `cells` for them, each once, as the table has them; returns what changed."""
        touched = self._forget(minutes)
        for cell in cells:
            if cell.minute >= now - self._keep_cells:
                measures = self._put(cell)
            else:
                measures = self._add(cell, cell.events, cell.amount_micros)
            touched.update((cell.tenant, measure, cell.minute) for measure in measures)
        self.missed -= set(minutes)
        self._expire(now)
        return self._totals(touched)

    def sums(self, tenant: str, campaign: str, start: float, end: float) -> dict[str, Sum]:
        """Sums by measure over minutes in [start, end)."""
        minutes = self._sums.get((tenant, campaign), {})
        found: dict[str, Sum] = {}
        for minute in _minutes(minutes, start, end):
            for measure, value in minutes[minute].items():
                found[measure] = found.get(measure, Sum()).plus(*value)
        return found

    def _put(self, cell: WindowCell) -> tuple[str, ...]:
        key = (
            cell.tenant,
            cell.event_type,
            cell.subtype,
            cell.campaign_id,
            cell.creative_id,
            cell.segment,
            cell.channel,
            cell.shard,
        )
        cells = self._cells.setdefault(cell.minute, {})
        before = cells.get(key, _NOTHING)
        if before.version > cell.version:
            return ()
        cells[self._keys.setdefault(key, key)] = Counted(cell.version, cell.events, cell.amount_micros)
        return self._add(cell, cell.events - before.events, cell.amount_micros - before.amount_micros)

    def _add(self, cell: WindowCell, events: int, amount: int) -> tuple[str, ...]:
        if not events and not amount:
            return ()
        measures = self._measures_of(cell.event_type, cell.subtype)
        for campaign in {"", cell.campaign_id}:
            sums = self._sums.setdefault((cell.tenant, campaign), {}).setdefault(cell.minute, {})
            for measure in measures:
                sums[measure] = sums.get(measure, Sum()).plus(events, amount)
        return measures

    def _totals(self, touched: set[tuple[str, str, int]]) -> list[Touched]:
        def total(tenant: str, measure: str, minute: int) -> Sum:
            return self._sums.get((tenant, ""), {}).get(minute, {}).get(measure, Sum())

        return [Touched(*key, total(*key)) for key in sorted(touched)]

    def _forget(self, minutes: Collection[int]) -> set[tuple[str, str, int]]:
        found: set[tuple[str, str, int]] = set()
        for (tenant, _), sums in self._sums.items():
            for minute in minutes:
                found.update((tenant, measure, minute) for measure in sums.pop(minute, {}))
        for minute in minutes:
            self._cells.pop(minute, None)
        return found

    def _expire(self, now: float) -> None:
        oldest = now - self._keep
        if len(self._keys) > MOST_KEYS:
            self._keys.clear()
        for minute in [minute for minute in self._cells if minute < now - self._keep_cells]:
            del self._cells[minute]
        self.missed = {minute for minute in self.missed if minute >= oldest}
        for key, minutes in list(self._sums.items()):
            for minute in [minute for minute in minutes if minute < oldest]:
                del minutes[minute]
            if not minutes:
                del self._sums[key]


def _minutes(minutes: Mapping[int, object], start: float, end: float) -> Iterator[int]:
    first, last = int(start) // 60 * 60, int(end)
    if (last - first) // 60 < len(minutes):
        yield from (minute for minute in range(first, last, 60) if minute in minutes and minute >= start)
    else:
        yield from (minute for minute in sorted(minutes) if start <= minute < end)


class _MeasureTable:
    """(event type, sub-type) to measures, for all packs together; a pair is looked up once."""

    def __init__(self, declared: list[tuple[str, str, str | None]]) -> None:
        self._declared = declared
        self._known: dict[tuple[str, str], tuple[str, ...]] = {}

    def __call__(self, event_type: str, subtype: str) -> tuple[str, ...]:
        key = (event_type, subtype)
        if key not in self._known:
            found = {role for role, kind, sub in self._declared if kind == event_type and sub in (None, subtype)}
            if subtype == HOLDOUT:
                found.discard("impression")
            everything = () if SYSTEM in found else ("event",)
            self._known[key] = (*everything, *sorted(found - {SYSTEM}))
        return self._known[key]


def _measures(packs: Iterable[Roles]) -> _MeasureTable:
    return _MeasureTable(
        [(role, kind, sub) for roles in packs for role in (*MEASURES, SYSTEM) for kind, sub in roles.get(role, ())]
    )
