"""Ways through the steps of a funnel, all of a user's in one pass per step.

A user's events become whole numbers, `keys`, that sort as the events count: by time, and within a millisecond by the
steps that they fit (`Kinds`). Read backwards, each event then finds the nearest later one of the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from api.funnels.rows import FunnelQuestion, fitting
from api.slices import Binder
from schemas.taxonomy.pack import EventRef

KINDS: Final = 2048
"""More than there are sets of ten steps."""


FURTHEST: Final = "argMax(way, (length(way), -way[1]))"
"""Of several ways of a user the one that goes furthest; of equally long ones that of the earliest entry."""


def walks(bind: Binder, asked: FunnelQuestion, rows: str, user: str) -> str:
    """A SELECT of users, with the ways from each of their `entries`; `rows`: what can be a step, `user`: its column."""
    kinds = Kinds.of(asked.steps)
    key = key_of(bind, kinds, "at", "fits")
    keys = (
        f"SELECT {user}, arraySort(groupArray({key})) AS keys FROM {rows} "
        f"GROUP BY {user} HAVING max(bitAnd(fits, 1)) = 1"
    )
    return f"SELECT {user}, {entries(bind, asked, kinds)} AS entries FROM ({keys})"


def furthest(walked: str, *kept: str) -> str:
    """The SELECT of the furthest `way` of each row with `entries`, and some of its columns."""
    names = "".join(f"{name}, " for name in kept)
    longest = f"SELECT {names}entries, arrayMax(arrayMap(e -> length(e), entries)) AS most FROM ({walked})"
    return f"SELECT {names}arrayFirst(e -> length(e) = most, entries) AS way FROM ({longest})"


def key_of(bind: Binder, kinds: Kinds, at: str, fits: str) -> str:
    """The key of an event."""
    return f"{at} * {KINDS} + {kinds.rank(bind, fits)}"


def entries(bind: Binder, asked: FunnelQuestion, kinds: Kinds) -> str:
    """Of sorted `keys`: the times (ms) of the steps that each entry comes to, in the order of the entries."""
    none, at = "emptyArrayInt64()", f"bitShiftRight(k, {KINDS.bit_length() - 1})"
    found = ""
    for step in range(len(asked.steps), 0, -1):
        fits = f"has({bind(kinds.fitting(step), 'Array(UInt16)')}, bitAnd(k, {KINDS - 1}))"
        if not found:
            found = f"arrayMap(k -> if({fits}, [{at}], {none}), keys)"
            continue
        later = f"arrayPushBack(arrayPopFront(arrayReverseFill(w -> notEmpty(w), {found})), {none})"
        found = f"arrayMap((k, w) -> if({fits}, arrayPushFront(w, {at}), {none}), keys, {later})"
    inside = f"arrayCount(t -> t <= w[1] + {bind(asked.window_ms, 'Int64')}, w)"
    return f"arrayMap(w -> arraySlice(w, 1, {inside}), arrayFilter(w -> notEmpty(w), {found}))"


@dataclass(frozen=True)
class Kinds:
    """The sets of steps that one event can fit, as they count within a millisecond: compared step by step.

    Bit 0 is the first step; an event that is no entry (outside the range, or filtered) fits the others only.
    """

    masks: tuple[int, ...]

    @classmethod
    def of(cls, steps: Sequence[Sequence[EventRef]]) -> Kinds:
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
