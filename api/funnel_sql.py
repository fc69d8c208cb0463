"""The one statement of a funnel: per user, each entry's way through the steps, and of those the furthest.

A user's events become whole numbers that sort as the events count: by time, and within a millisecond by the steps that
they fit (`_Kinds`). Read backwards, each event then finds the nearest later one of the next step, so all ways of a user
are found in one pass per step. How ways are chosen: docs/funnels.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from api.funnel_rows import FunnelQuestion, event_rows, fitting, sources
from api.rollups.coverage import Coverage
from api.slices import Binder
from schemas.taxonomy.pack import EventRef

_KINDS: Final = 2048
"""More than there are sets of ten steps."""


def statement(asked: FunnelQuestion, covered: Coverage | None = None) -> tuple[str, dict[str, object]]:
    """The SELECT with its bound values: a row for each value of the split ('' without one), the most users first.

    A row: value; users of each step; of the time (ms) between steps the sums, and median and p90 of each; of the whole
    way the sum, and median and p90.
    """
    bind, done = Binder(), f"length(way) = {len(asked.steps)}"
    numbers = (
        "countForEach(way), sumForEach(gaps), quantilesExactInclusiveForEach(0.5, 0.9)(gaps), "
        f"sumIf(whole, {done}), quantilesExactInclusiveIf(0.5, 0.9)(whole, {done})"
    )
    grouped = f"SELECT value, {numbers} FROM ({_ways(bind, asked, covered)}) GROUP BY value"
    return f"{grouped} ORDER BY count() DESC, value LIMIT {bind(asked.limit, 'UInt32')}", bind.params


def _ways(bind: Binder, asked: FunnelQuestion, covered: Coverage | None) -> str:
    """A subquery of users (and values of the split): the times of the furthest `way`, its `gaps` and its `whole`."""
    kinds = _Kinds.of(asked.steps)
    keys = _split_keys(bind, asked, kinds) if asked.split else _keys(bind, asked, kinds, covered)
    entries = f"SELECT value, {_entries(bind, asked, kinds)} AS entries FROM ({keys})"
    longest = f"SELECT value, entries, arrayMax(arrayMap(e -> length(e), entries)) AS most FROM ({entries})"
    furthest = f"SELECT value, arrayFirst(e -> length(e) = most, entries) AS way FROM ({longest})"
    return (
        f"SELECT value, way, arrayPopFront(arrayDifference(way)) AS gaps, way[-1] - way[1] AS whole FROM ({furthest})"
    )


def _keys(bind: Binder, asked: FunnelQuestion, kinds: _Kinds, covered: Coverage | None) -> str:
    """A subquery of users: `value` '' and the sorted `keys` of their events."""
    key = f"at * {_KINDS} + {kinds.rank(bind, 'fits')}"
    return " UNION ALL ".join(
        f"SELECT '' AS value, arraySort(groupArray({key})) AS keys FROM {rows} "
        f"GROUP BY {user} HAVING max(bitAnd(fits, 1)) = 1"
        for rows, user in sources(bind, asked, covered)
    )


def _split_keys(bind: Binder, asked: FunnelQuestion, kinds: _Kinds) -> str:
    """The same for each user and each value that one of the user's entries has: the funnel filtered by that value."""
    people = (
        "SELECT groupArray((at, fits, value, bound)) AS events, groupUniqArrayIf(value, bitAnd(fits, 1) = 1) AS values "
        f"FROM {event_rows(bind, asked)} GROUP BY user_id HAVING notEmpty(values)"
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
        found = set(fitting(steps))
        found |= {mask & ~1 for mask in found}
        return cls(tuple(sorted(found - {0}, key=_places)))

    def rank(self, bind: Binder, fits: str) -> str:
        """SQL: from 1 on, 0 for what fits no step."""
        return f"indexOf({bind(list(self.masks), 'Array(UInt16)')}, toUInt16({fits}))"

    def fitting(self, step: int) -> list[int]:
        """The ranks of the sets that hold a step (from 1 on)."""
        return [rank for rank, mask in enumerate(self.masks, 1) if mask >> (step - 1) & 1]


def _places(mask: int) -> list[int]:
    return [at for at in range(mask.bit_length()) if mask >> at & 1]
