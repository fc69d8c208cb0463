"""Who is followed over months (cohorts, lifetime value, repeats), out of rosters and sets: the same as from events."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

import pytest

from api.cohort_sql import CohortBy, RetainedBy
from api.reader import ClickHouseReader
from api.slices import Interval
from schemas.errors import Retryable
from schemas.metrics import shipped_dictionary
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.rolled import DAY_MS, END, MIDNIGHT, Site
from tests.api.world import DAY, NOW, Event, World

FOLLOWED = [
    metric
    for metric in shipped_dictionary().metrics
    if metric.id in {"ltv", "cac_payback", "retention_30d", "retention_60d", "retention_90d"}
]
SPANS = {
    "whole days": (MIDNIGHT - 300 * DAY_MS, MIDNIGHT - 20 * DAY_MS),
    "cut days": (MIDNIGHT - 280 * DAY_MS - 5_000_000, MIDNIGHT - 130 * DAY_MS - 7_654_321),
    "until now": (END - 365 * DAY_MS, END),
    "a day": (MIDNIGHT - 90 * DAY_MS, MIDNIGHT - 89 * DAY_MS),
}


def long_world(seed: int) -> World:
    return World(seed, days=420, users=150, orders=700)


@pytest.fixture
def site(tenant: str, store: Warehouse, reader: ClickHouseReader, pack: Pack) -> Site:
    return Site(f"rosters-{tenant}", store, reader, pack)


@pytest.fixture(scope="module")
def counted(store: Warehouse, reader: ClickHouseReader, pack: Pack) -> Site:
    """A tenant whose days are counted, with repeated rows, and late ones, some of users that nobody knew."""
    made, world = Site("rosters-counted", store, reader, pack), long_world(81)
    events = world.events(2500)
    made.insert(events + world.rng.sample(events, 500))
    assert not made.round()
    world.users += [f"stranger-{n}" for n in range(10)]
    late = world.events(80)
    made.insert(late)
    assert {one["user_id"] for one in late if one["event_type"] == "user_signed_up"} - {f"user-{n}" for n in range(150)}
    return made


@pytest.mark.parametrize("metric", FOLLOWED, ids=lambda m: m.id)
@pytest.mark.parametrize("interval", [None, Interval.DAY, Interval.MONTH])
async def test_who_is_followed_is_the_same(counted: Site, metric: Any, interval: Interval | None) -> None:
    for span in SPANS.values():
        assert await counted.check(metric, counted.asked(span, interval=interval))
    for coming in ((END + DAY_MS, END + 9 * DAY_MS), (END - 2 * DAY_MS, END + 9 * DAY_MS)):
        await counted.check(metric, counted.asked(coming, interval=interval))
    answer = await counted.metrics(None).answer(metric, counted.asked(SPANS["until now"]), counted.pack)
    assert answer["value"], "a test over nothing proves nothing"


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("by", list(CohortBy))
async def test_cohorts_are_the_same(counted: Site, span: str, by: CohortBy) -> None:
    for retained_by in RetainedBy:
        for months in (12, 1):
            used = await counted.check_cohorts(SPANS[span], by, retained_by, months)
            assert used >= (2 if by is CohortBy.SIGNUP_MONTH or retained_by is RetainedBy.ACTIVITY else 1)


@pytest.mark.parametrize("span", SPANS)
async def test_kpis_are_the_same(counted: Site, span: str) -> None:
    assert await counted.check_kpis(SPANS[span]) >= 7


@pytest.mark.parametrize("seed", range(2))
async def test_rounds_that_break_off_change_nothing(site: Site, seed: int) -> None:
    """Events in any order, repeated, late; rounds that end after any write."""
    rng, world = Random(seed), long_world(90 + seed)
    events = world.events(400)
    rng.shuffle(events)
    while events:
        some = [events.pop() for _ in range(min(len(events), rng.randrange(1, 300)))]
        site.insert(some + rng.sample(some, len(some) // 3))
        for _ in range(rng.randrange(3)):
            site.breaking.left = rng.choice((0, 1, 5, 14, 16, 17, 18, 1000))
            with suppress(Retryable):
                site.round(rng.choice((15.0, 61.0, 300.0)))
        await _check(site, rng)
    site.breaking.left = 1000
    assert not site.round()
    await _check(site, rng)


async def test_what_is_taken_out_leaves_the_rosters(site: Site) -> None:
    """A sign-up and a purchase that a conflict moves; before, between and after."""
    world, rng = long_world(95), Random(95)
    events = world.events(600)
    site.insert(events)
    assert not site.round()
    for kind in ("user_signed_up", "user_purchased"):
        gone = min((one for one in events if one["event_type"] == kind), key=lambda one: str(one["timestamp"]))
        row = site.take_out(gone)
        site.round(200)
        await _check(site, rng)
        site.forget(gone, row)
        await _check(site, rng)
        site.round(200)
        site.round(200)
        covered = await site.covered()
        assert covered and not any(covered.dirty)
        await _check(site, rng)


def ident(name: str) -> str:
    return str(UUID(int=Random(name).getrandbits(128), version=4))


def bought(user: str, day: float, order: str) -> Event:
    return _event("user_purchased", user, day, order, {"order_id": ident(order), "order_value": 5.0})


def joined(user: str, day: float) -> Event:
    return _event("user_signed_up", user, day, f"{user}-{day}", {"acquisition_channel": "referral"})


def opened(user: str, day: float) -> Event:
    return _event("user_engaged", user, day, f"{user}-{day}-open", {"engagement_type": "app_open"})


def _event(kind: str, user: str, day: float, name: str, properties: Event) -> Event:
    at = datetime.fromtimestamp(MIDNIGHT / 1000 - day * DAY + 500, UTC).isoformat().replace("+00:00", "Z")
    return {
        "event_id": ident(f"{kind}-{name}"), "event_type": kind, "timestamp": at, "user_id": user, "session_id": "s",
        "source": "backend", "properties": properties, "context": {},
    }  # fmt: skip


REACHES: dict[str, tuple[list[Callable[[], Event]], Callable[[], Event], list[set[int]]]] = {
    "an order beside earlier ones": (
        [lambda: bought("u", 9, "a"), lambda: bought("u", 3, "b")],
        lambda: bought("u", 5, "c"),
        [{5}, {5}, {5}, {5}],
    ),
    "an order before all others": (
        [lambda: bought("u", 9, "a"), lambda: bought("u", 3, "b")],
        lambda: bought("u", 11, "c"),
        [{11}, {11}, {11, 9, 3}, {11, 9, 3}],
    ),
    "an order again, later": (
        [lambda: bought("u", 9, "a")],
        lambda: {**bought("u", 4, "a"), "event_id": ident("other")},
        [{4}, {4}, {4}, {4}],
    ),
    "an order again, earlier": (
        [lambda: bought("u", 9, "a"), lambda: bought("u", 12, "b")],
        lambda: {**bought("u", 10, "a"), "event_id": ident("other")},
        [{10}, {10, 9}, {10, 9}, {10, 9}],
    ),
    "an order that somebody else has": (
        [lambda: bought("u", 9, "a"), lambda: bought("u", 3, "b"), lambda: bought("v", 2, "c")],
        lambda: {**bought("v", 10, "a"), "event_id": ident("other")},
        [{10}, {10, 9}, {10, 9, 3, 2}, {10, 9, 3, 2}],
    ),
    "a sign-up of somebody unknown": (
        [lambda: opened("u", 8), lambda: opened("u", 2), lambda: bought("u", 1, "a"), lambda: opened("v", 5)],
        lambda: joined("u", 4),
        [{4}, {4}, {4, 1}, {4, 2, 1}],
    ),
    "a second sign-up": (
        [lambda: joined("u", 9), lambda: opened("u", 2), lambda: bought("u", 1, "a")],
        lambda: joined("u", 4),
        [{4}, {4}, {4}, {4}],
    ),
    "an earlier sign-up": (
        [lambda: joined("u", 4), lambda: opened("u", 6), lambda: opened("u", 12), lambda: bought("u", 1, "a")],
        lambda: joined("u", 9),
        [{9}, {9}, {9, 4, 1}, {9, 6, 4, 1}],
    ),
}


@pytest.mark.parametrize("name", REACHES)
async def test_what_comes_late_reaches_no_further_than_it_must(site: Site, name: str) -> None:
    before, late, wanted = REACHES[name]
    site.insert([make() for make in before])
    assert not site.round()
    site.insert([late()])
    covered = await site.covered()
    days = [{MIDNIGHT // DAY_MS - day for day in one} for one in covered.dirty] if covered else []
    assert days == [*wanted, {*wanted[-1], *(day - 1 for day in wanted[0])}]
    await _check(site, Random(name))
    assert not site.round()
    await _check(site, Random(name))


async def _check(site: Site, rng: Random) -> None:
    span = SPANS[rng.choice([*SPANS])]
    await site.check(rng.choice(FOLLOWED), site.asked(span, interval=rng.choice([None, Interval.WEEK])))
    await site.check_cohorts(span, rng.choice([*CohortBy]), rng.choice([*RetainedBy]), rng.choice((1, 12)))
    await site.check_kpis(span)
    assert site.at < NOW + DAY
