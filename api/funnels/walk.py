"""Ways through the steps of a funnel, all of a user's in one pass per step.

A user's events become whole numbers, `keys`, that sort as the events count: by time, and within a millisecond by the
steps that they fit (`Kinds`), which are the last bits. Read backwards, each event then finds the nearest later one of
the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from api.funnels.rows import FunnelQuestion, fitting
from api.slices import Binder
from schemas.taxonomy.pack import EventRef

_STEPS: Final = 1 << 10
"""More than any set of ten steps."""
_MOMENT: Final = 2 * _STEPS * _STEPS
"""More than a set's place among all such sets, before the set itself."""
FURTHEST: Final = "argMax(way, (length(way), -way[1]))"
"""Of several ways of a user the one that goes furthest; of equally long ones that of the earliest entry."""


def walks(bind: Binder, asked: FunnelQuestion, rows: str, user: str, *, further: bool = False) -> str:
    """A SELECT of users, with the ways from each of their `entries`; `rows`: what can be a step, `user`: its column.

    `further`: only users with something that fits the second step.
    """
    key = Kinds.of(asked.steps).key(bind, "at", "fits")
    # Most people come no further than their entry: there is nothing to walk through.
    keys = "if(bitTest(groupBitOr(fits), 1), arraySort(groupArray(key)), [minIf(key, bitTest(fits, 0))]) AS keys"
    grouped = (
        f"SELECT {user}, {keys} FROM (SELECT {user}, fits, {key} AS key FROM {rows}) "
        f"GROUP BY {user} HAVING bitTest(groupBitOr(fits), 0){' AND bitTest(groupBitOr(fits), 1)' if further else ''}"
    )
    return f"SELECT {user}, {entries(bind, asked)} AS entries FROM ({grouped})"


def furthest(walked: str, *kept: str) -> str:
    """The SELECT of the furthest `way` of each row with `entries`, and some of its columns."""
    names = "".join(f"{name}, " for name in kept)
    longest = f"SELECT {names}entries, arrayMax(arrayMap(e -> length(e), entries)) AS most FROM ({walked})"
    return f"SELECT {names}arrayFirst(e -> length(e) = most, entries) AS way FROM ({longest})"


def fits_any(key: str) -> str:
    """Whether the event of a key fits any step."""
    return f"bitAnd({key}, {_STEPS - 1}) > 0"


def entries(bind: Binder, asked: FunnelQuestion) -> str:
    """Of sorted `keys`: the times (ms) of the steps that each entry comes to, in the order of the entries."""
    none, at = "emptyArrayInt64()", f"bitShiftRight(k, {_MOMENT.bit_length() - 1})"
    found = ""
    for step in range(len(asked.steps), 0, -1):
        fits = f"bitTest(k, {step - 1})"
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

    def key(self, bind: Binder, at: str, fits: str) -> str:
        """SQL: the key of an event."""
        place = f"indexOf({bind(list(self.masks), 'Array(UInt16)')}, toUInt16({fits}))"
        return f"{at} * {_MOMENT} + {place} * {_STEPS} + {fits}"


def _places(mask: int) -> list[int]:
    return [at for at in range(mask.bit_length()) if mask >> at & 1]
