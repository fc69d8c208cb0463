"""The one statement of a funnel: per user, each entry's way through the steps, and of those the furthest.

A user's events become whole numbers that sort as the events count: by time, and within a millisecond by the steps that
they fit (`_Kinds`). Read backwards, each event then finds the nearest later one of the next step, so all ways of a user
are found in one pass per step. How ways are chosen: docs/funnels.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from api.slices import Binder, Filter, filter_columns, filter_where
from api.sources import events_where, order_rows, orders_in
from schemas.metrics import Dimension
from schemas.taxonomy.pack import EventRef, Pack

_KINDS: Final = 2048
"""More than there are sets of ten steps."""
_ORDERS: Final = (("purchase", False), ("conversion", True))
"""Roles whose events are orders, and whether they count once a campaign."""


@dataclass(frozen=True)
class FunnelQuestion:
    """What is asked. Times: Unix milliseconds; entries lie in [start_ms, end_ms), nothing from `known_ms` on is known.

    `steps`: the events of each step. `filters` hold for the entry, the campaign also for later events that name one.
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

    @property
    def until_ms(self) -> int:
        """Nothing from here on can be a step: too late for the last entry, or not known yet."""
        return min(self.end_ms + self.window_ms, self.known_ms)


def statement(asked: FunnelQuestion) -> tuple[str, dict[str, object]]:
    """The SELECT with its bound values: a row for each value of the split ('' without one), the most users first.

    A row: value; users of each step; of the time (ms) between steps the sums, and median and p90 of each; of the whole
    way the sum, and median and p90.
    """
    bind, done = Binder(), f"length(way) = {len(asked.steps)}"
    numbers = (
        "countForEach(way), sumForEach(gaps), quantilesExactInclusiveForEach(0.5, 0.9)(gaps), "
        f"sumIf(whole, {done}), quantilesExactInclusiveIf(0.5, 0.9)(whole, {done})"
    )
    grouped = f"SELECT value, {numbers} FROM ({_ways(bind, asked)}) GROUP BY value ORDER BY count() DESC, value"
    return f"{grouped} LIMIT {bind(asked.limit, 'UInt32')}", bind.params


def _ways(bind: Binder, asked: FunnelQuestion) -> str:
    """A subquery of users (and values of the split): the times of the furthest `way`, its `gaps` and its `whole`."""
    kinds = _Kinds.of(asked.steps)
    keys = _split_keys(bind, asked, kinds) if asked.split else _keys(bind, asked, kinds)
    entries = f"SELECT value, {_entries(bind, asked, kinds)} AS entries FROM ({keys})"
    longest = f"SELECT value, entries, arrayMax(arrayMap(e -> length(e), entries)) AS most FROM ({entries})"
    furthest = f"SELECT value, arrayFirst(e -> length(e) = most, entries) AS way FROM ({longest})"
    return (
        f"SELECT value, way, arrayPopFront(arrayDifference(way)) AS gaps, way[-1] - way[1] AS whole FROM ({furthest})"
    )


def _keys(bind: Binder, asked: FunnelQuestion, kinds: _Kinds) -> str:
    """A subquery of users: `value` '' and the sorted `keys` of their events."""
    key = f"at * {_KINDS} + {kinds.rank(bind, 'fits')}"
    return (
        f"SELECT '' AS value, arraySort(groupArray({key})) AS keys FROM {_rows(bind, asked)} "
        "GROUP BY user_id HAVING max(bitAnd(fits, 1)) = 1"
    )


def _split_keys(bind: Binder, asked: FunnelQuestion, kinds: _Kinds) -> str:
    """The same for each user and each value that one of the user's entries has: the funnel filtered by that value."""
    people = (
        "SELECT groupArray((at, fits, value, bound)) AS events, groupUniqArrayIf(value, bitAnd(fits, 1) = 1) AS values "
        f"FROM {_rows(bind, asked)} GROUP BY user_id HAVING notEmpty(values)"
    )
    own = "arrayFilter(e -> NOT e.4 OR e.3 = value, events)"
    fits = "if(e.3 = value, e.2, bitAnd(e.2, 65534))"
    key = f"e.1 * {_KINDS} + {kinds.rank(bind, fits)}"
    keys = f"arrayFilter(k -> bitAnd(k, {_KINDS - 1}) > 0, arrayMap(e -> {key}, {own}))"
    return f"SELECT value, arraySort({keys}) AS keys FROM ({people}) ARRAY JOIN values AS value"


def _entries(bind: Binder, asked: FunnelQuestion, kinds: _Kinds) -> str:
    """The times (ms) of the steps that each entry of a user comes to, in the order of the entries."""
    none, at = "emptyArrayInt64()", f"bitShiftRight(k, {_KINDS.bit_length() - 1})"
    found = ""
    for step in range(len(asked.steps), 0, -1):
        fits = f"has({bind(kinds.fitting(step), 'Array(UInt16)')}, bitAnd(k, {_KINDS - 1}))"
        if not found:
            found = f"arrayMap(k -> if({fits}, [{at}], {none}), keys)"
            continue
        later = f"arrayPushBack(arrayPopFront(arrayReverseFill(w -> notEmpty(w), {found})), {none})"
        found = f"arrayMap((k, w) -> if({fits}, arrayPushFront(w, {at}), {none}), keys, {later})"
    inside = f"arrayCount(t -> t <= w[1] + {bind(asked.window_ms, 'Int64')}, w)"
    return f"arrayMap(w -> arraySlice(w, 1, {inside}), arrayFilter(w -> notEmpty(w), {found}))"


@dataclass(frozen=True)
class _Kinds:
    """The sets of steps that one event can fit, as they count within a millisecond: compared step by step.

    Bit 0 is the first step; an event that is no entry (outside the range, or filtered) fits the others only.
    """

    masks: tuple[int, ...]

    @classmethod
    def of(cls, steps: Sequence[Sequence[EventRef]]) -> _Kinds:
        found = set(_masks(steps))
        found |= {mask & ~1 for mask in found}
        return cls(tuple(sorted(found - {0}, key=_places)))

    def rank(self, bind: Binder, fits: str) -> str:
        """SQL: from 1 on, 0 for what fits no step."""
        return f"indexOf({bind(list(self.masks), 'Array(UInt16)')}, toUInt16({fits}))"

    def fitting(self, step: int) -> list[int]:
        """The ranks of the sets that hold a step (from 1 on)."""
        return [rank for rank, mask in enumerate(self.masks, 1) if mask >> (step - 1) & 1]


def _masks(steps: Sequence[Sequence[EventRef]]) -> Iterable[int]:
    refs = {ref for step in steps for ref in step}
    for one in refs | {EventRef(ref.event_type, None) for ref in refs}:
        yield sum(1 << at for at, step in enumerate(steps) if one in step or EventRef(one.event_type, None) in step)


def _places(mask: int) -> list[int]:
    return [at for at in range(mask.bit_length()) if mask >> at & 1]


def _rows(bind: Binder, asked: FunnelQuestion) -> str:
    """A subquery of what can be a step: `user_id`, `at` (ms), `fits` (bits), and for a split `value` and `bound`."""
    refs = {ref for step in asked.steps for ref in step}
    parts, taken = [], set[EventRef]()
    for role, by_campaign in _ORDERS:
        orders = [ref for ref in asked.pack.roles.get(role, ()) if ref not in taken]
        if _types(refs) & _types(orders):
            columns, before = _columns(asked), asked.until_ms
            only = orders_in(bind, asked.tenant, orders, ((asked.start_ms, before),))
            found = order_rows(
                bind, asked.tenant, orders, columns, before_ms=before, by_campaign=by_campaign, only=only
            )
            parts.append(_part(bind, asked, found, []))
            taken |= set(orders)
    plain = [ref for ref in refs if ref not in taken and EventRef(ref.event_type, None) not in taken]
    if plain:
        where = [events_where(bind, asked.tenant, plain), f"timestamp < {bind.time(asked.until_ms)}", "NOT is_holdout"]
        where += [f"NOT {matching(bind, taken)}"] if _types(plain) & _types(taken) else []
        parts.append(_part(bind, asked, "events FINAL" if _shared(asked, plain) else "events", where))
    return f"({' UNION ALL '.join(parts)})"


def _shared(asked: FunnelQuestion, refs: Sequence[EventRef]) -> bool:
    """Whether one of these events fits two steps: then, and only then, a repeated row would be a second event."""
    steps = [[ref for ref in step if ref in refs] for step in asked.steps]
    return any(mask & (mask - 1) for mask in _Kinds.of(steps).masks)


def _part(bind: Binder, asked: FunnelQuestion, source: str, where: Sequence[str]) -> str:
    entry = [f"timestamp < {bind.time(asked.end_ms)}"]
    entry += [filter_where(bind, dimension, value) for dimension, value in asked.filters.items()]
    bits = [[matching(bind, step), *([] if at else entry)] for at, step in enumerate(asked.steps)]
    fits = " + ".join(f"if({' AND '.join(conditions)}, {1 << at}, 0)" for at, conditions in enumerate(bits))
    bound = f"event_type IN {bind(sorted(_campaign_types(asked)), 'Array(String)')}"
    where = [*where, f"timestamp >= {bind.time(asked.start_ms)}", "fits > 0"]
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
