"""What can be a step of a funnel: rows of events, or of days that the rollups hold, with the steps that each fits.

Bit 0 of `fits` is the first step. An event that is no entry (outside the range, or filtered) fits the others only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from api.rollups.counted import Days, days_where, numbered, runs
from api.rollups.coverage import Coverage
from api.rollups.families import Reach
from api.rollups.rosters import ORDERS, STEPS
from api.rollups.stepping import masks
from api.selections import Rows
from api.slices import Binder, Filter, Pieces, filter_columns, filter_where
from api.sources import events_where, order_rows, orders_in, pieces_where
from schemas.metrics import Dimension
from schemas.taxonomy.pack import EventRef, Pack

LATER: Final = 0xFFFE
"""All steps but the first."""
NUMBERED: Final = 1 << 32
"""More than any number of a user. A hash of 128 bits is less once in 2^96, and two are the same once in 2^128."""
_ORDERS: Final = (("purchase", False), ("conversion", True))
"""Roles whose events are orders, and whether they count once a campaign."""


@dataclass(frozen=True)
class FunnelQuestion:
    """What is asked. Times: Unix milliseconds; entries lie in [start_ms, end_ms), nothing from `known_ms` on is known.

    `steps`: the events of each step. `filters` hold for the entry, the campaign also for later events that name one.
    `entries`: the parts of the range, in their order, whose entries are asked for; all of it without any.
    """

    tenant: str
    pack: Pack
    steps: tuple[tuple[EventRef, ...], ...]
    start_ms: int
    end_ms: int
    window_ms: int
    known_ms: int
    filters: Mapping[Dimension, Filter] = field(default_factory=dict)
    split: Dimension | None = None
    limit: int = 20
    entries: Pieces = ()

    @property
    def until_ms(self) -> int:
        """Nothing from here on can be a step: too late for the last entry, or not known yet."""
        return min(self.end_ms + self.window_ms, self.known_ms)

    @property
    def parts(self) -> Pieces:
        """Where entries may lie."""
        return self.entries or ((self.start_ms, self.end_ms),)

    @property
    def spans(self) -> Pieces:
        """Where steps may lie: the parts, and what their windows reach."""
        found: list[tuple[int, int]] = []
        for start, end in self.parts:
            until = min(end + self.window_ms, self.known_ms)
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(found[-1][1], until))
            else:
                found.append((start, until))
        return tuple(found)


@dataclass(frozen=True)
class Held:
    """The steps that each kind of the step roster fits, as bits, and those that an order fits."""

    kinds: list[int]
    order: int


def held(pack: Pack, steps: Sequence[Sequence[EventRef]]) -> Held | None:
    """How rosters hold these steps; None where they do not."""
    orders, sets = {*pack.roles.get("purchase", ())}, [{*step} for step in steps]
    kinds = masks(pack, [[*(step - orders)] for step in sets])
    if kinds is None or any(step & orders and not orders <= step for step in sets):
        return None
    return Held(kinds, sum(1 << at for at, step in enumerate(sets) if step & orders))


def source(bind: Binder, asked: FunnelQuestion, covered: Coverage | None, *, numbers: bool = False) -> tuple[str, str]:
    """A subquery of what can be a step (`at` in ms, `fits`), and its column that tells users apart.

    Where the rollups hold every step, days that are counted come from these, and users are told apart by `person`:
    below `NUMBERED` a user's number, from there on a hash of the id. `numbers`: also where no day is counted.
    """
    steps = held(asked.pack, asked.steps)
    if covered is not None and steps is not None and not asked.filters and not asked.split:
        days, pieces = list[int](), list[tuple[int, int]]()
        for span in asked.spans:
            counted, others = covered.around(*span, Reach.ORDERS)
            days += [day for run in counted for day in range(*run)]
            pieces += others
        if days or numbers:
            return _of_days(bind, asked, steps, runs(days), tuple(pieces)), "person"
    return event_rows(bind, asked), "user_id"


def _of_days(bind: Binder, asked: FunnelQuestion, steps: Held, days: Days, pieces: Pieces) -> str:
    parts = []
    where = f"tenant = {bind(asked.tenant)} AND {days_where(bind, days)}" if days else ""
    if days and any(steps.kinds):
        arrays, fits = "users AS number, times AS at, kinds AS kind", f"{bind(steps.kinds, 'Array(UInt16)')}[kind]"
        parts.append(_counted(bind, asked, STEPS.table, where, arrays, fits))
    if days and steps.order:
        arrays, fits = "users AS number, times AS at", bind(steps.order, "UInt16")
        parts.append(_counted(bind, asked, ORDERS.table, where, arrays, fits))
    if pieces:
        refs = sorted({ref for step in asked.steps for ref in step}, key=str)
        people = Rows("events", [events_where(bind, asked.tenant, refs), *pieces_where(bind, pieces)])
        known = numbered(bind, asked.tenant, people)
        person = "if(number > 0, toUInt128(number), reinterpretAsUInt128(sipHash128(user_id))) AS person"
        rows = event_rows(bind, asked, pieces)
        parts.append(f"SELECT {person}, at, fits FROM {rows} AS r LEFT JOIN {known} AS u USING (user_id)")
    return f"({' UNION ALL '.join(parts)})"


def _counted(bind: Binder, asked: FunnelQuestion, table: str, where: str, arrays: str, fits: str) -> str:
    entry, known = _within(bind, asked.parts), _within(bind, asked.spans)
    return (
        f"SELECT toUInt128(number) AS person, at, toUInt16(if({entry}, {fits}, bitAnd({fits}, {LATER}))) AS fits "
        f"FROM (SELECT * FROM {table} FINAL WHERE {where}) ARRAY JOIN {arrays} WHERE {known} AND fits > 0"
    )


def _within(bind: Binder, pieces: Pieces) -> str:
    """The condition that `at` lies in one of these parts."""
    inside = (f"(at >= {bind(start, 'Int64')} AND at < {bind(end, 'Int64')})" for start, end in pieces)
    return f"({' OR '.join(inside)})"


def event_rows(bind: Binder, asked: FunnelQuestion, pieces: Pieces | None = None) -> str:
    """A subquery of events: `user_id`, `at` (ms), `fits` (bits), and for a split `value` and `bound`.

    `pieces`: the parts of time that are wanted; all that the question is about where there are none.
    """
    pieces = pieces or asked.spans
    refs = {ref for step in asked.steps for ref in step}
    parts, taken = [], set[EventRef]()
    for role, by_campaign in _ORDERS:
        orders = [ref for ref in asked.pack.roles.get(role, ()) if ref not in taken]
        if _types(refs) & _types(orders):
            columns, before = _columns(asked), asked.until_ms
            only = orders_in(bind, asked.tenant, orders, pieces)
            found = order_rows(
                bind, asked.tenant, orders, columns, before_ms=before, by_campaign=by_campaign, only=only
            )
            parts.append(_part(bind, asked, found, pieces_where(bind, pieces)))
            taken |= set(orders)
    plain = [ref for ref in refs if ref not in taken and EventRef(ref.event_type, None) not in taken]
    if plain:
        where = [events_where(bind, asked.tenant, plain), *pieces_where(bind, pieces), "NOT is_holdout"]
        where += [f"NOT {matching(bind, taken)}"] if _types(plain) & _types(taken) else []
        parts.append(_part(bind, asked, "events FINAL" if _shared(asked, plain) else "events", where))
    return f"({' UNION ALL '.join(parts)})"


def _shared(asked: FunnelQuestion, refs: Sequence[EventRef]) -> bool:
    """Whether one of these events fits two steps: then, and only then, a repeated row would be a second event."""
    steps = [[ref for ref in step if ref in refs] for step in asked.steps]
    return any(mask & (mask - 1) for mask in fitting(steps))


def _part(bind: Binder, asked: FunnelQuestion, source: str, where: Sequence[str]) -> str:
    entry = pieces_where(bind, asked.parts)
    entry += [filter_where(bind, dimension, value) for dimension, value in asked.filters.items()]
    bits = [[matching(bind, step), *([] if at else entry)] for at, step in enumerate(asked.steps)]
    fits = " + ".join(f"if({' AND '.join(conditions)}, {1 << at}, 0)" for at, conditions in enumerate(bits))
    bound = f"event_type IN {bind(sorted(_campaign_types(asked)), 'Array(String)')}"
    where = [*where, "fits > 0"]
    if Dimension.CAMPAIGN in asked.filters:
        where.append(f"(NOT {bound} OR campaign_id = {bind(asked.filters[Dimension.CAMPAIGN])})")
    names = ["user_id", "toUnixTimestamp64Milli(timestamp) AS at", f"toUInt16({fits}) AS fits"]
    if asked.split:
        by_campaign = asked.split is Dimension.CAMPAIGN
        names += [f"toString({asked.split.value}) AS value", f"{bound if by_campaign else 'false'} AS bound"]
    return f"SELECT {', '.join(names)} FROM {source} WHERE {' AND '.join(where)}"


def _columns(asked: FunnelQuestion) -> list[str]:
    split = [asked.split.value] if asked.split else []
    return ["event_type", "subtype", *sorted({"user_id", *filter_columns(asked.filters), *split})]


def _campaign_types(asked: FunnelQuestion) -> set[str]:
    """The types among the steps that can name a campaign, by the pack."""
    named = _types(ref for step in asked.steps for ref in step)
    return {name for name in named if asked.pack.events[name].column(Dimension.CAMPAIGN.value)}


def matching(bind: Binder, refs: Iterable[EventRef]) -> str:
    """The condition that an event is one of these."""
    given = sorted(set(refs), key=lambda ref: (ref.event_type, ref.subtype or ""))
    whole = sorted(_types(ref for ref in given if ref.subtype is None))
    parts = [f"event_type IN {bind(whole, 'Array(String)')}"] if whole else []
    parts += [f"(event_type = {bind(t)} AND subtype = {bind(s)})" for t, s in given if s is not None]
    return f"({' OR '.join(parts)})"


def _types(refs: Iterable[EventRef]) -> set[str]:
    return {ref.event_type for ref in refs}


def fitting(steps: Sequence[Sequence[EventRef]]) -> Iterable[int]:
    """The sets of steps that one event can fit, as bits."""
    refs = {ref for step in steps for ref in step}
    for one in refs | {EventRef(ref.event_type, None) for ref in refs}:
        yield sum(1 << at for at, step in enumerate(steps) if one in step or EventRef(one.event_type, None) in step)
