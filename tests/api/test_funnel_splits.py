"""Funnels by HTTP: random questions, split and beside others in every way, against the walk in plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from api.times import iso
from schemas.funnels import shipped_funnels
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.ask import get
from tests.api.conftest import Site
from tests.api.test_funnels_exact import CAMPAIGN_TYPES, DAY_MS, END, HOUR, STEPS, Visits, check
from tests.api.world import SEGMENTS, Event, lines
from tests.oracle.funnels import Fits, People, Way, either, of

WORDS = STEPS | {f"user_engaged:{name}": of("user_engaged", engagement_type=name)
                 for name in ("view_rewards", "view_catalog", "search")}  # fmt: skip
COMPARED = (None, "funnel", "previous_period", "compare_campaign_id", "compare_segment")
SPLITS = (None, "campaign_id", "segment", "channel", "acquisition_channel")
CUSTOM = {
    "acquisition_channel": ("signup,activity,purchase", "signup,session_start"),
    "channel": ("impression,click,purchase", "message_open,activity,purchase", "signup,purchase"),
    "campaign_id": ("click,conversion", "impression,open,activity,purchase", "open,click,click", "signup,activity"),
    "segment": ("purchase,purchase", "activity,purchase", "session_start,user_engaged:save_item,purchase"),
}
DECLARED = {
    "acquisition_channel": ("signup_to_purchase",),
    "channel": ("campaign_to_purchase", "signup_to_purchase"),
    "campaign_id": ("campaign_to_purchase", "acquisition_to_revenue"),
    "segment": ("purchase_to_repeat", "signup_to_purchase", "campaign_to_purchase"),
}
UNITS = {"m": 60_000, "h": HOUR, "d": DAY_MS, "w": 7 * DAY_MS}


@dataclass(frozen=True)
class Question:
    """A funnel, its range in ms and its filters."""

    steps: tuple[Fits, ...]
    names: tuple[str, ...]
    id: str
    window: int
    start: int
    end: int
    filters: dict[str, str] = field(default_factory=dict)

    def ways(self, people: People, known: int) -> list[Way]:
        campaign = self.filters.get("campaign_id")
        found = people.ways(
            self.steps, self.start, self.end, self.window, known,
            entry=lambda one: all(getattr(one, name) == value for name, value in self.filters.items()),
            later=lambda one: campaign is None or one.event_type not in CAMPAIGN_TYPES or one.campaign_id == campaign,
        )  # fmt: skip
        return list(found.values())


@pytest.fixture(scope="module")
def world() -> Visits:
    return Visits(47, days=30, users=40, orders=200)


@pytest.fixture(scope="module")
def stored(store: Warehouse, pack: Pack, world: Visits) -> list[Event]:
    """Shuffled, in odd batches, a third of it twice."""
    events = world.events(1600)
    again = events + world.rng.sample(events, 500)
    world.rng.shuffle(again)
    for start in range(0, len(again), 211):
        store.insert_lines("events", lines(again[start : start + 211], pack, "funnel-splits"))
    return events


def asked(name: str, window: str | None, span: tuple[int, int], filters: dict[str, str]) -> Question:
    """The question of a declared funnel's id or of steps by commas."""
    declared = shipped_funnels().find(name)
    if declared is None:
        names = tuple(name.split(","))
        found = Question(tuple(WORDS[one] for one in names), names, "custom", 7 * DAY_MS, *span, filters)
    else:
        names = tuple(step.name for step in declared.steps)
        steps = tuple(either(*(WORDS[event] for event in step.events)) for step in declared.steps)
        found = Question(steps, names, declared.id, int(declared.window * 1000), *span, filters)
    return replace(found, window=int(window[:-1]) * UNITS[window[-1]]) if window else found


def check_shown(told: dict[str, Any], question: Question, people: People, known: int) -> Fraction | None:
    """All that is told of a funnel but its segments; gives its overall rate."""
    assert (told["start"], told["end"]) == (iso(question.start), iso(question.end))
    assert (told["funnelType"], told["filters"]) == (question.id, question.filters)
    assert told["window_hours"] == float(Fraction(question.window, HOUR))
    assert told["settled"] == (question.end - 1 + question.window < known)
    ways = question.ways(people, known)
    check_steps(told, question, ways)
    done = sum(len(way.times) == len(question.steps) for way in ways)
    return Fraction(100 * done, len(ways)) if ways else None


def check_steps(told: dict[str, Any], question: Question, ways: list[Way]) -> None:
    check(told, ways, len(question.steps))
    numbered = [(one["stepNumber"], one["step"]) for one in told["funnel"]]
    assert numbered == list(enumerate(question.names, 1))


def check_segments(
    told: list[dict[str, Any]], question: Question, by: str, limit: int, people: People, known: int
) -> None:
    """Each value of an entry, the most users first; of as many by name."""
    column = "channel" if by == "acquisition_channel" else by
    found = {}
    for value in {getattr(one, column) for one, _ in people.all}:
        if question.filters.get(column, value) == value:
            narrowed = replace(question, filters={**question.filters, column: value})
            if ways := narrowed.ways(people, known):
                found[value] = ways
    order = sorted(found, key=lambda value: (-len(found[value]), value))
    assert [one["segmentName"] for one in told] == order[:limit]
    for one in told:
        check_steps(one, question, found[one["segmentName"]])


@pytest.mark.parametrize("compared", COMPARED)
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("seed", [1, 2])
async def test_every_split_and_comparison_equals_the_walk(
    site: Site, stored: list[Event], world: Visits, split: str | None, compared: str | None, seed: int
) -> None:
    """Random funnels, windows, ranges, filters and limits."""
    rng, people = Random(f"{seed} {split} {compared}"), People(stored)
    kind = split or rng.choice(SPLITS[1:])
    if compared == "compare_campaign_id" and kind == "segment":
        kind = "campaign_id"
    name = rng.choice((CUSTOM if rng.random() < 0.5 else DECLARED)[kind])
    own = compared == "funnel" and seed == 1  # each of the two has its own window
    window = None if own else rng.choice((None, "90m", "30h", "5d", "2w"))
    end = END - rng.randrange(12) * DAY_MS
    span = end - rng.randrange(3, 16) * DAY_MS - rng.randrange(DAY_MS), end
    filters = _filters(rng, world, kind)
    limit = rng.choice((1, 2, 20))
    params: dict[str, Any] = {"start": iso(span[0]), "end": iso(span[1]), "limit": limit, **filters}
    params |= {"steps": name} if "," in name else {"funnel": name}
    params |= {"window": window} if window else {}
    params |= {"segment_by": split} if split else {}
    question = asked(name, window, span, filters)
    more, other = _beside(rng, world, compared, kind, question, window)
    told = await get(site, "funnel-splits", "/funnel", **params, **more)
    known = int(site.clock.now() * 1000)
    rate = check_shown(told, question, people, known)
    assert ("segments" in told, "comparison" in told) == (split is not None, other is not None)
    if split:
        assert told["segmentBy"] == ("channel" if split == "acquisition_channel" else split)
        check_segments(told["segments"], question, split, limit, people, known)
    if other:
        beside = check_shown(told["comparison"], other, people, known)
        assert "segments" not in told["comparison"]
        apart = None if rate is None or beside is None else pytest.approx(float(rate - beside), rel=1e-12, abs=1e-12)
        assert told["comparison"]["difference"] == apart


def _filters(rng: Random, world: Visits, kind: str) -> dict[str, str]:
    """None or one or two, that the first step can carry."""
    found = {"segment": rng.choice(SEGMENTS)} if rng.random() < 0.4 else {}
    if kind != "segment" and rng.random() < 0.4 and kind != "channel":
        found["campaign_id"] = rng.choice(world.campaigns)
    return found


def _beside(
    rng: Random, world: Visits, compared: str | None, kind: str, question: Question, window: str | None
) -> tuple[dict[str, str], Question | None]:
    """The parameters of a comparison, and the question that it asks."""
    span = question.start, question.end
    if compared == "funnel":
        name = rng.choice(DECLARED["campaign_id" if "campaign_id" in question.filters else kind])
        return {"compare": name}, asked(name, window, span, question.filters)
    if compared == "previous_period":
        return {"compare": compared}, replace(question, start=2 * span[0] - span[1], end=span[0])
    if compared is None:
        return {}, None
    name = compared.removeprefix("compare_")
    value = rng.choice(world.campaigns if name == "campaign_id" else SEGMENTS)
    return {compared: value}, replace(question, filters={**question.filters, name: value})


@pytest.mark.parametrize("early", [0, 1])
async def test_a_funnel_is_settled_the_moment_that_the_last_window_closes(
    site: Site, stored: list[Event], early: int
) -> None:
    """The last entry is a millisecond before the end, and its last step may be a window later."""
    known = int((site.clock.now() + 1.5) * 1000)
    end = known - HOUR + early
    params = {"steps": "click,purchase", "window": "1h", "start": iso(end - DAY_MS), "end": iso(end)}
    told = await get(site, "funnel-splits", "/funnel", **params)
    assert int(site.clock.now() * 1000) == known and told["settled"] is (early == 0)
