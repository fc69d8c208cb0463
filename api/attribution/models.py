"""Attribution models: from distinct paths with counts to credit by channel. Pure; nothing here reads.

A path has totals, of which the first is its conversions, and any others (value, new customers) share their fate. What a
model credits adds up to the totals exactly: shares are fractions. A channel is credited for each of its steps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple

from api.attribution.markov import removal_effects

MODELS: Final = ("first", "last", "linear", "time_decay", "position", "markov")
UNITS: Final = 10**9
"""Time decay divides an order into so many parts, so that its shares are whole numbers wherever they are made."""

Number = int | Fraction
Credit = dict[str, list[Fraction]]
"""By channel, what of each total is credited to it; every channel of the paths is there."""


class Path(NamedTuple):
    """One distinct path. `nulls`: how often it led to nothing.

    `decayed`: where times are known, of each step the parts (of `UNITS`) of each total that time decay gives it.
    """

    steps: tuple[str, ...]
    totals: tuple[Number, ...]
    nulls: Number = 0
    decayed: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class Rules:
    """What the models have to be told. `half_life`: in steps, for paths without times; `first`, `last`: shares."""

    half_life: float
    first: Fraction
    last: Fraction


class Credited(NamedTuple):
    """By model, the credit; and by channel, the removal effect where Markov was asked for."""

    models: Mapping[str, Credit]
    removal: Mapping[str, float]


def credited(paths: Sequence[Path], models: Sequence[str], rules: Rules) -> Credited:
    """The credit that each of `models` gives. Paths without a step are ignored; those that repeat are added up."""
    walked = [path for path in paths if path.steps]
    width = max((len(path.totals) for path in walked), default=1)
    removal = _removal(walked) if "markov" in models else {}
    places = _places(walked) if set(models) & {"first", "last", "linear", "position"} else {}
    found: dict[str, Credit] = {}
    for model in models:
        if model == "markov":
            found[model] = _by_removal(removal, walked, width)
            continue
        found[model] = {step: [Fraction(0)] * width for path in walked for step in path.steps}
        _add_shares(found[model], places if model != "time_decay" else _undated(walked), _shares(model, rules))
        if model == "time_decay":
            _add_decayed(found[model], walked)
    return Credited(found, removal)


def total(paths: Iterable[Path], which: int) -> Fraction:
    """A total over all paths that have a step."""
    return sum((Fraction(path.totals[which]) for path in paths if path.steps), Fraction(0))


Places = dict[tuple[str, int, int], list[Number]]
"""By channel, length of the path and position in it, the totals of the paths that have the channel there."""


def _places(paths: Iterable[Path]) -> Places:
    found: Places = {}
    for path in paths:
        length = len(path.steps)
        for at, step in enumerate(path.steps):
            key = step, length, at
            before = found.get(key)
            found[key] = (
                list(path.totals) if before is None else [a + b for a, b in zip(before, path.totals, strict=True)]
            )
    return found


def _undated(paths: Iterable[Path]) -> Places:
    return _places(path for path in paths if path.decayed is None)


def _add_shares(credit: Credit, places: Places, shares: Callable[[int], tuple[Fraction, ...]]) -> None:
    for (channel, length, at), totals in places.items():
        if share := shares(length)[at]:
            credit[channel] = [known + share * n for known, n in zip(credit[channel], totals, strict=True)]


def _add_decayed(credit: Credit, paths: Iterable[Path]) -> None:
    parts: dict[str, list[int]] = {}
    for path in paths:
        for step, given in zip(path.steps, path.decayed, strict=True) if path.decayed is not None else ():
            before = parts.get(step)
            parts[step] = list(given) if before is None else [a + b for a, b in zip(before, given, strict=True)]
    for channel, given_to in parts.items():
        credit[channel] = [known + Fraction(n, UNITS) for known, n in zip(credit[channel], given_to, strict=True)]


def _shares(model: str, rules: Rules) -> Callable[[int], tuple[Fraction, ...]]:
    """The shares of the steps of a path of so many steps; they add up to 1."""
    by_length: dict[str, Callable[[int], tuple[Fraction, ...]]] = {
        "first": lambda n: (Fraction(1), *[Fraction(0)] * (n - 1)),
        "last": lambda n: (*[Fraction(0)] * (n - 1), Fraction(1)),
        "linear": lambda n: (Fraction(1, n),) * n,
        "time_decay": lambda n: decay_by_position(n, rules.half_life),
        "position": lambda n: _by_ends(n, rules.first, rules.last),
    }
    return lru_cache(maxsize=None)(by_length[model])


def decay_by_position(length: int, half_life: float) -> tuple[Fraction, ...]:
    """Shares that halve every `half_life` steps back from the last, which also gets what rounding leaves."""
    weights = [2.0 ** -((length - 1 - at) / half_life) for at in range(length)]
    whole = sum(weights)
    parts = [int(weight / whole * UNITS) for weight in weights[:-1]]
    return tuple(Fraction(part, UNITS) for part in (*parts, UNITS - sum(parts)))


def _by_ends(length: int, first: Fraction, last: Fraction) -> tuple[Fraction, ...]:
    if length == 1:
        return (Fraction(1),)
    if length == 2:
        return first / (first + last), last / (first + last)
    between = (1 - first - last) / (length - 2)
    return (first, *[between] * (length - 2), last)


def _removal(paths: Sequence[Path]) -> dict[str, float]:
    moves: dict[tuple[str | None, str | None], Number] = defaultdict(int)
    ends: dict[str, tuple[Number, Number]] = {}
    for path in paths:
        converted = path.totals[0]
        if not (journeys := converted + path.nulls):
            continue
        before: str | None = None
        for step in path.steps:
            moves[before, step] += journeys
            before = step
        won, lost = ends.get(path.steps[-1], (0, 0))
        ends[path.steps[-1]] = won + converted, lost + path.nulls
    effects = removal_effects(moves, ends)
    return {channel: effects.get(channel, 0.0) for path in paths for channel in path.steps}


def _by_removal(removal: Mapping[str, float], paths: Sequence[Path], width: int) -> Credit:
    """Totals divided in proportion to the removal effects."""
    totals = [total(paths, which) for which in range(width)]
    whole = sum(map(Fraction, removal.values()), Fraction(0))
    if not whole:
        return {channel: [Fraction(0)] * width for channel in removal}
    return {channel: [Fraction(effect) / whole * n for n in totals] for channel, effect in removal.items()}
