"""An independent computation of journeys and their credit: raw events, lists and fractions; no SQL, no matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

from tests.oracle.facts import OPENS, Fact, facts

DAY_MS = 86_400_000
UNKNOWN = "unknown"


def is_touch(one: Fact, touch: str) -> bool:
    kinds = {
        "click": {"campaign_clicked", "user_signed_up"},
        "open": {"campaign_clicked", "user_signed_up", "message_opened"},
        "impression": {"campaign_delivered", "user_signed_up"},
    }[touch]
    looked = touch == "open" and one.event_type == "campaign_viewed" and one.view_type in OPENS
    return (one.event_type in kinds or looked) and not one.holdout


def is_sign(one: Fact) -> bool:
    """Whether an event tells the channel of later touches of its campaign."""
    kinds = {"campaign_delivered", "message_sent", "message_opened"}
    looked = one.event_type == "campaign_viewed" and one.view_type in OPENS
    return (one.event_type in kinds or looked) and not one.holdout and bool(one.channel)


@dataclass(frozen=True)
class Question:
    start: int
    end: int
    by: str = "channel"
    touch: str = "click"
    lookback: float = 30
    half_life: float = 7
    segment: str | None = None
    most: int = 50


@dataclass
class Journey:
    """An order (or nothing) and what was touched before it: (ms, step)."""

    order: Fact | None
    touched: list[tuple[int, str]]
    new: bool = False
    cut: bool = False

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(step for _, step in self.touched)


@dataclass
class Walked:
    question: Question
    journeys: list[Journey] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)

    def won(self) -> list[Journey]:
        return [one for one in self.journeys if one.order and one.touched]

    def lost(self) -> list[Journey]:
        return [one for one in self.journeys if not one.order]

    def alone(self) -> list[Journey]:
        return [one for one in self.journeys if one.order and not one.touched]


def walk(events: Iterable[dict[str, Any]], asked: Question) -> Walked:
    """Every journey of the question."""
    every = facts(events)
    touches = _touches(every, asked)
    found, buyers, seen = Walked(asked), set(), set()
    for order in _orders(every, asked.end):
        new = order.user_id not in seen
        seen.add(order.user_id)
        if order.ms < asked.start:
            continue
        buyers.add(order.user_id)
        if asked.segment not in (None, order.segment):
            continue
        touched = [
            (one.ms, step)
            for one, step in touches.get(order.user_id, [])
            if order.ms - asked.lookback * DAY_MS <= one.ms <= order.ms
        ]
        if touched:
            found.lengths.append(len(touched))
            found.waits.append(order.ms - touched[0][0])
        found.journeys.append(_journey(order, touched, new, asked))
    for user in touches.keys() - buyers:
        last = touches[user][-1][0]
        if last.ms >= asked.start and asked.segment in (None, last.segment):
            some = [(one.ms, step) for one, step in touches[user] if one.ms >= last.ms - asked.lookback * DAY_MS]
            found.journeys.append(_journey(None, some, False, asked))
    return found


def _touches(every: Sequence[Fact], asked: Question) -> dict[str, list[tuple[Fact, str]]]:
    """By user, in their order, with the step that each is."""
    signs: dict[str, list[Fact]] = {}
    for one in every:
        if is_sign(one):
            signs.setdefault(one.user_id, []).append(one)
    found: dict[str, list[tuple[Fact, str]]] = {}
    for one in every:
        own = signs.get(one.user_id, [])
        if is_touch(one, asked.touch) and one.ms < asked.end and (step := step_of(one, own, asked)):
            found.setdefault(one.user_id, []).append((one, step))
    return found


def _orders(every: Sequence[Fact], end: int) -> list[Fact]:
    found: dict[str, Fact] = {}
    for one in every:
        if one.event_type == "user_purchased" and one.ms < end:
            found.setdefault(one.order_id, one)
    return sorted(found.values())


def _journey(order: Fact | None, touched: list[tuple[int, str]], new: bool, asked: Question) -> Journey:
    cut = len(touched) > asked.most
    return Journey(order, [touched[0], *touched[-(asked.most - 1) :]] if cut else touched, new, cut)


def step_of(touch: Fact, signs: Sequence[Fact], asked: Question) -> str:
    """The step that a touch is, by the signs of its user."""
    if asked.by == "campaign_id":
        return touch.campaign_id
    if touch.channel:
        return touch.channel
    fitting = [
        one
        for one in signs
        if one.campaign_id == touch.campaign_id != "" and touch.ms - 30 * DAY_MS <= one.ms <= touch.ms
    ]
    return max(fitting)[7] if fitting else UNKNOWN


def weights(journey: Journey, model: str, half_life: float) -> list[Fraction]:
    n = len(journey.touched)
    if model == "first":
        return [Fraction(at == 0) for at in range(n)]
    if model == "last":
        return [Fraction(at == n - 1) for at in range(n)]
    if model == "linear":
        return [Fraction(1, n)] * n
    if model == "position":
        if n < 3:
            return [Fraction(1, n)] * n
        return [Fraction(2, 5), *[Fraction(1, 5) / (n - 2)] * (n - 2), Fraction(2, 5)]
    assert journey.order is not None
    raw = [Fraction(0.5 ** ((journey.order.ms - ms) / (half_life * DAY_MS))) for ms, _ in journey.touched]
    return [one / sum(raw) for one in raw]


def credit(walked: Walked, model: str) -> dict[str, tuple[Fraction, Fraction, Fraction]]:
    """By step: orders, millionths and new customers."""
    if model == "markov":
        return _markov(walked)
    found: dict[str, list[Fraction]] = {}
    for one in walked.won():
        assert one.order is not None
        for step, share in zip(one.path, weights(one, model, walked.question.half_life), strict=True):
            sums = found.setdefault(step, [Fraction(0)] * 3)
            for at, amount in enumerate((1, one.order.micros, int(one.new))):
                sums[at] += share * amount
    return {step: (a, b, c) for step, (a, b, c) in found.items()}


def removal(walked: Walked) -> dict[str, float]:
    """By solving the chain anew without each channel, by Gauss elimination in fractions."""
    moves: Counter[tuple[str, str]] = Counter()
    for one in (*walked.won(), *walked.lost()):
        states = ["(start)", *one.path, "(won)" if one.order else "(lost)"]
        moves.update(pairwise(states))
    steps = sorted({step for one in (*walked.won(), *walked.lost()) for step in one.path})
    whole = _chance(moves, steps, None)
    return {step: float(1 - _chance(moves, steps, step) / whole) if whole else 0.0 for step in steps}


def _chance(moves: Counter[tuple[str, str]], steps: list[str], without: str | None) -> Fraction:
    states = ["(start)", *(step for step in steps if step != without)]
    out = {state: sum(n for (source, _), n in moves.items() if source == state) for state in states}
    table = [
        [Fraction(int(a == b)) - Fraction(moves[a, b], out[a] or 1) for b in states]
        + [Fraction(moves[a, "(won)"], out[a] or 1)]
        for a in states
    ]
    size = len(states)
    for at in range(size):
        pivot = next(row for row in range(at, size) if table[row][at])
        table[at], table[pivot] = table[pivot], table[at]
        table[at] = [cell / table[at][at] for cell in table[at]]
        for row in range(size):
            if row != at and (factor := table[row][at]):
                table[row] = [a - factor * b for a, b in zip(table[row], table[at], strict=True)]
    return table[0][-1]


def _markov(walked: Walked) -> dict[str, tuple[Fraction, Fraction, Fraction]]:
    effects = {step: Fraction(effect) for step, effect in removal(walked).items()}
    won = [one for one in walked.won() if one.order]
    totals = (len(won), sum(one.order.micros for one in won if one.order), sum(one.new for one in won))
    whole = sum(effects.values(), Fraction(0)) or Fraction(1)
    return {step: tuple(effect / whole * n for n in totals) for step, effect in effects.items()}  # type: ignore[misc]
