"""Funnels and cohorts in plain Python: every entry is walked by itself, every user looked at month by month."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.oracle.facts import ACTIVITY_TYPES, OPENS, Fact, facts

MONTH = 30 * 86_400_000
ENGAGEMENTS = "engagement_type"

Fits = Callable[[Fact, dict[str, Any]], bool]


class Happening(NamedTuple):
    """An event that fits steps (from 1 on). Compared, happenings stand as they count."""

    ms: int
    steps: tuple[int, ...]
    event_id: str
    value: str


def of(kind: str, **properties: str) -> Fits:
    """Events of a type, and with these properties; deliveries to held out users are none."""

    def fits(one: Fact, sent: dict[str, Any]) -> bool:
        return one.event_type == kind and not one.holdout and all(sent.get(k) == v for k, v in properties.items())

    return fits


def either(*ways: Fits) -> Fits:
    return lambda one, sent: any(way(one, sent) for way in ways)


def active(one: Fact, _: dict[str, Any]) -> bool:
    """The role activity of the marketing pack."""
    return one.event_type in ACTIVITY_TYPES or (one.event_type == "campaign_viewed" and one.view_type in OPENS)


class Way(NamedTuple):
    """How far a user came: the times of the steps, ms."""

    times: tuple[int, ...]


class People:
    """The accepted events of a tenant, given as sent, in any order, with repeats."""

    def __init__(self, events: Iterable[dict[str, Any]]) -> None:
        sent = {event["event_id"]: event.get("properties") or {} for event in events}
        self.all = [(one, sent[one.event_id]) for one in _once(facts(events))]

    def ways(
        self,
        steps: Sequence[Fits],
        start: int,
        end: int,
        window: int,
        known: int,
        *,
        entry: Callable[[Fact], bool] = lambda one: True,
        later: Callable[[Fact], bool] = lambda one: True,
    ) -> dict[str, Way]:
        """The way of each user who has an entry. `later`: what an event must be, to be a step at all."""
        found: dict[str, list[Happening]] = {}
        for one, sent in self.all:
            if not start <= one.ms < known or not later(one):
                continue
            fitting = [number for number, fits in enumerate(steps, 1) if fits(one, sent)]
            if 1 in fitting and not (one.ms < end and entry(one)):
                fitting.remove(1)
            if fitting:
                found.setdefault(one.user_id, []).append(Happening(one.ms, tuple(fitting), one.event_id, ""))
        walked = {user: list(_walk(sorted(events), len(steps), window)) for user, events in found.items()}
        return {user: Way(max(ways, key=len)) for user, ways in walked.items() if ways}

    def signups(self, known: int) -> dict[str, Fact]:
        """The first sign-up of each user."""
        found: dict[str, Fact] = {}
        for one, _ in self.all:
            if one.event_type == "user_signed_up" and one.ms < known:
                found.setdefault(one.user_id, one)
        return found


def _walk(events: Sequence[Happening], steps: int, window: int) -> Iterator[tuple[int, ...]]:
    """The way of each entry, in the order of the entries: the next event each time, as long as the window is open."""
    for at, first in enumerate(events):
        if 1 not in first.steps:
            continue
        times = [first.ms]
        for one in events[at + 1 :]:
            if len(times) < steps and len(times) + 1 in one.steps and one.ms <= first.ms + window:
                times.append(one.ms)
        yield tuple(times)


def furthest(events: Sequence[Happening], steps: int, window: int) -> int:
    """How many steps any choice of events can make, by trying them all."""

    def go(at: int, step: int, until: int) -> int:
        best = step
        for later in range(at + 1, len(events)):
            if step + 1 in events[later].steps and events[later].ms <= until and step < steps:
                best = max(best, go(later, step + 1, until))
        return best

    return max((go(at, 1, one.ms + window) for at, one in enumerate(events) if 1 in one.steps), default=0)


def _once(ordered: Sequence[Fact]) -> Iterator[Fact]:
    """Each event, but of an order (and of a campaign's order) only the first."""
    seen: set[tuple[str, ...]] = set()
    for one in ordered:
        if one.order_id and one.event_type in ("user_purchased", "campaign_converted"):
            campaign = one.campaign_id if one.event_type == "campaign_converted" else ""
            key = (one.event_type, campaign, one.order_id)
            if key in seen:
                continue
            seen.add(key)
        yield one


class Month(NamedTuple):
    """A cell: users whose month is over, those who were there, and what they paid, millionths."""

    users: int
    active: int
    micros: int


def cohorts(
    events: Iterable[dict[str, Any]],
    key: Callable[[Fact], str],
    start: int,
    end: int,
    months: int,
    known: int,
    *,
    by_purchase: bool = False,
) -> dict[str, tuple[int, list[Month]]]:
    """By cohort: its users, and its months, over those users whose month is over."""
    events = list(events)
    people, raw = People(events), facts(events)
    chosen = {user: one for user, one in people.signups(known).items() if start <= one.ms < end}
    orders = [one for one, _ in people.all if one.event_type == "user_purchased" and one.ms < known]
    done = orders if by_purchase else [one for one in raw if active(one, {}) and one.ms < known]
    found: dict[str, tuple[int, list[Month]]] = {}
    for name in {key(one) for one in chosen.values()}:
        users = {user: one.ms for user, one in chosen.items() if key(one) == name}
        cells = []
        for month in range(months + 1):
            over = {user: ms + month * MONTH for user, ms in users.items() if ms + (month + 1) * MONTH <= known}
            there = {one.user_id for one in done if _inside(one, over)}
            paid = sum(one.micros for one in orders if _inside(one, over))
            cells.append(Month(len(over), len(there), paid))
        found[name] = len(users), cells
    return found


def _inside(one: Fact, begins: dict[str, int]) -> bool:
    return one.user_id in begins and begins[one.user_id] <= one.ms < begins[one.user_id] + MONTH


def month_of(one: Fact) -> str:
    """The calendar month, UTC."""
    return f"{datetime.fromtimestamp(one.ms / 1000, UTC):%Y-%m}"
