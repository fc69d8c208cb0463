"""Budgets: the newest approved, else the newest initial, plus what was moved in, minus what was moved out.

Budget events are few (tens a day), so they are read as they are and folded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from api.cells import Cells
from api.reader import Reader
from api.slices import Binder, Slice, following
from api.sources import events_where
from schemas.metrics import Dimension
from schemas.taxonomy.pack import Pack

FROM: Final = "from_campaign_id"
TO: Final = "to_campaign_id"
APPROVED: Final = "budget_approved"
"""The properties that tell a move and an approval from an initial budget."""


class Kind(NamedTuple):
    """What the events of one type do to a budget."""

    moves: bool
    approves: bool


class Entry(NamedTuple):
    """One budget event: time in ms, what it does, the campaign it sets, or the two it moves money between."""

    at: int
    kind: Kind
    campaign: str
    source: str
    target: str
    micros: int


@dataclass
class Budget:
    """The budget of one campaign as it grows; amounts in millionths."""

    initial: int = 0
    approved: int | None = None
    moved: int = 0

    @property
    def micros(self) -> int:
        return (self.initial if self.approved is None else self.approved) + self.moved


@dataclass
class Budgets:
    """All budgets of a tenant, folded in the order of event time."""

    campaigns: dict[str, Budget] = field(default_factory=dict)

    def apply(self, entry: Entry) -> None:
        """Take one event in; events must come by (time, id)."""
        if entry.kind.moves:
            self._of(entry.source).moved -= entry.micros
            self._of(entry.target).moved += entry.micros
        elif entry.kind.approves:
            self._of(entry.campaign).approved = entry.micros
        else:
            self._of(entry.campaign).initial = entry.micros

    def _of(self, campaign: str) -> Budget:
        return self.campaigns.setdefault(campaign, Budget())


def kinds(pack: Pack) -> dict[str, Kind]:
    """What each budget event type of a pack does."""
    found = {}
    for ref in pack.roles.get("budget", ()):
        properties = pack.events[ref.event_type].properties
        found[ref.event_type] = Kind(FROM in properties and TO in properties, APPROVED in properties)
    return found


def amount_property(pack: Pack, event_type: str) -> str:
    """The property that holds the amount of a budget event."""
    column = pack.events[event_type].column("amount")
    return column.name if column else "amount"


async def read_entries(reader: Reader, asked: Slice, pack: Pack) -> list[Entry]:
    """A tenant's budget events before the end of the range, by (time, id); without an amount they set nothing."""
    bind = Binder()
    known = kinds(pack)
    names = {event_type: amount_property(pack, event_type) for event_type in known}
    stated = " OR ".join(
        f"(event_type = {bind(event_type)} AND JSONType(properties, {bind(name)}) NOT IN ('Null', 'String'))"
        for event_type, name in sorted(names.items())
    )
    where = events_where(bind, asked.tenant, pack.roles["budget"])
    sql = (
        "SELECT toUnixTimestamp64Milli(timestamp), event_type, campaign_id, "
        f"JSONExtractString(properties, '{FROM}'), JSONExtractString(properties, '{TO}'), amount_micros "
        f"FROM events FINAL WHERE {where} AND {bind.before(asked.end_ms)} AND ({stated}) "
        "ORDER BY timestamp, event_id"
    )
    rows = await reader.rows(sql, bind.params)
    return [
        Entry(int(at), known[kind], campaign, source, target, int(micros))
        for at, kind, campaign, source, target, micros in rows
    ]


async def budget_cells(reader: Reader, asked: Slice, pack: Pack, points: Sequence[int]) -> Cells:
    """Budgets at the end of the range and of every point, by campaign and in total."""
    entries = await read_entries(reader, asked, pack)
    named = asked.filters.get(Dimension.CAMPAIGN)
    only = None if named is None else str(named)
    split = asked.group_by is not None
    cells, budgets, position = Cells(), Budgets(), 0
    for point in (*points, None):
        end = asked.end_ms if point is None or asked.interval is None else following(asked.interval, point)
        while position < len(entries) and entries[position].at < end:
            budgets.apply(entries[position])
            position += 1
        chosen = _chosen(budgets, only)
        cells.put(None, point, sum(micros for _, micros in chosen))
        for campaign, micros in chosen if split else ():
            cells.put(campaign, point, micros)
    return cells


def _chosen(budgets: Budgets, only: str | None) -> list[tuple[str, int]]:
    found: Iterable[tuple[str, Budget]] = budgets.campaigns.items()
    return [(campaign, budget.micros) for campaign, budget in found if only is None or campaign == only]
