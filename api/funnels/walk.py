"""Ways through the steps of a funnel, all of a user's at once.

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
_NEVER: Final = -(1 << 60)
"""The time of what is not reached."""


def ways(bind: Binder, asked: FunnelQuestion, rows: str, user: str) -> str:
    """The SELECT of the furthest `way` of each user: the times of its steps. Of equally long ones the first.

    `rows`: what can be a step, `user`: their column that tells users apart.
    """
    # Most people come no further than their entry: there is nothing to walk through.
    keys = "if(bitTest(groupBitOr(fits), 1), arraySort(groupArray(key)), emptyArrayInt64()) AS keys"
    first = "minIf(at, bitTest(fits, 0)) AS first"
    found = walked(bind, asked, _people(bind, asked, rows, user, f"{keys}, {first}"), f"{user}, first")
    return f"SELECT {user}, if(empty(way), [first], way) AS way FROM ({furthest(found, asked, f'{user}, first')})"


def entries(bind: Binder, asked: FunnelQuestion, rows: str, user: str) -> str:
    """`walked`, with all entries of each user."""
    return walked(bind, asked, _people(bind, asked, rows, user, "arraySort(groupArray(key)) AS keys"), user)


def _people(bind: Binder, asked: FunnelQuestion, rows: str, user: str, columns: str) -> str:
    """Those who have entered."""
    key = Kinds.of(asked.steps).key(bind, "at", "fits")
    return (
        f"SELECT {user}, {columns} FROM (SELECT {user}, at, fits, {key} AS key FROM {rows}) "
        f"GROUP BY {user} HAVING bitTest(groupBitOr(fits), 0)"
    )


def walked(bind: Binder, asked: FunnelQuestion, rows: str, kept: str) -> str:
    """A SELECT of columns of rows with sorted `keys`, and of each row's entries, in their order: how many `steps` they
    come to within the window, and the time (ms) of every step, also later ones, as `t1`, `t2` and so on.
    """
    last, at = len(asked.steps), f"bitShiftRight(k, {_MOMENT.bit_length() - 1})"
    found = rows
    for step in range(last, 0, -1):
        # Of each later step: when it is reached from the nearest later event that fits the next one.
        values = [f"arrayMap(k -> if(bitTest(k, {step - 1}), {at}, {_NEVER}), keys) AS v{step}_{step}"]
        for later in range(step + 1, last + 1):
            nearest = f"arrayReverseFill((v, k) -> bitTest(k, {step}), v{step + 1}_{later}, keys)"
            shifted = f"arrayPopFront(arrayPushBack({nearest}, {_NEVER}))"
            value = f"arrayMap((k, v) -> if(bitTest(k, {step - 1}), v, {_NEVER}), keys, {shifted})"
            values.append(f"{value} AS v{step}_{later}")
        found = f"SELECT {kept}, keys, {', '.join(values)} FROM ({found})"
    names = _names(asked)
    times = ", ".join(f"arrayFilter((v, k) -> bitTest(k, 0), v1_{n}, keys) AS t{n}" for n in range(1, last + 1))
    inside = f"<= t1 + {bind(asked.window_ms, 'Int64')}"
    made = " + ".join(["1", *(f"({name} >= t1 AND {name} {inside})" for name in names[1:])])
    steps = f"arrayMap(({', '.join(names)}) -> toUInt8({made}), {', '.join(names)}) AS steps"
    return f"SELECT {kept}, {steps}, {', '.join(names)} FROM (SELECT {kept}, {times} FROM ({found}))"


def furthest(found: str, asked: FunnelQuestion, kept: str) -> str:
    """The SELECT of the furthest `way` of each row of `walked`; empty where nobody entered. It keeps columns."""
    best = (
        f"SELECT {kept}, {', '.join(_names(asked))}, arrayMax(steps) AS most, indexOf(steps, most) AS n FROM ({found})"
    )
    times = ", ".join(f"{name}[n]" for name in _names(asked))
    return f"SELECT {kept}, arraySlice([{times}], 1, most) AS way FROM ({best})"


def fits_any(key: str) -> str:
    """Whether the event of a key fits any step."""
    return f"bitAnd({key}, {_STEPS - 1}) > 0"


def _names(asked: FunnelQuestion) -> list[str]:
    return [f"t{step}" for step in range(1, len(asked.steps) + 1)]


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
