"""Funnels out of counted days: the same to the last digit as from events, whatever is late, repeated or taken out."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from random import Random

import pytest

from api.funnels.answer import Named
from api.funnels.rows import FunnelQuestion
from api.reader import ClickHouseReader
from api.rollups.stepping import kinds
from schemas.errors import Retryable
from schemas.funnels import refs_of, shipped_funnels
from schemas.metrics import Dimension
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.rolled import DAY_MS, END, MIDNIGHT, Site
from tests.api.test_funnels_exact import Visits
from tests.api.world import DAY, NOW, Event

SPANS = {
    "all": (END - 140 * DAY_MS, END),
    "whole days": (MIDNIGHT - 30 * DAY_MS, MIDNIGHT - 5 * DAY_MS),
    "cut days": (MIDNIGHT - 33 * DAY_MS - 5_000_000, MIDNIGHT - 12 * DAY_MS - 7_654_321),
    "until now": (END - 40 * DAY_MS, END),
    "a day": (MIDNIGHT - 9 * DAY_MS, MIDNIGHT - 8 * DAY_MS),
    "today": (MIDNIGHT, END),
}
DECLARED = {funnel.id: funnel for funnel in shipped_funnels().funnels}
HELD = (
    "impression,click,purchase",
    "purchase,purchase",
    "click,click,click",
    "signup,user_engaged:save_item",
    "click,purchase,click",
    "session_start,session_start,purchase,purchase,session_start",
)
WINDOWS = (600, 30 * 3_600_000, 7 * DAY_MS, 60 * DAY_MS)


def funnel(site: Site, pack: Pack, line: str, span: str, window: int) -> Named:
    """A declared funnel, or one of these steps."""
    if line in DECLARED:
        found = DECLARED[line]
        names = tuple(step.name for step in found.steps)
        steps = tuple(tuple(ref for one in step.events for ref in refs_of(one, pack)) for step in found.steps)
        window = int(found.window * 1000)
    else:
        names = tuple(line.split(","))
        steps = tuple(refs_of(name, pack) for name in names)
    return Named(line, line, names, FunnelQuestion(site.tenant, pack, steps, *SPANS[span], window, END))


@pytest.fixture
def site(tenant: str, store: Warehouse, reader: ClickHouseReader, pack: Pack) -> Site:
    return Site(f"funnels-{tenant}", store, reader, pack)


def with_lookers(world: Visits, events: list[Event]) -> list[Event]:
    """Some are sent much, on many days, and do nothing."""
    sent = [one for one in events if one["event_type"] == "campaign_delivered"]
    return events + [{**one, "event_id": world.uuid(), "user_id": f"looker-{world.rng.randrange(15)}"} for one in sent]


LATE = {"nothing": (0.0, 0.0), "two days": (19.0, 21.0), "here and there": (0.0, 90.0)}
"""How many days ago what came late happened."""


@pytest.fixture(scope="module", params=LATE)
def counted(request: pytest.FixtureRequest, store: Warehouse, reader: ClickHouseReader, pack: Pack) -> Site:
    """A tenant whose days are counted, with repeated rows, and late ones, some of users that nobody knew."""
    made = Site(f"funnels-{request.param}", store, reader, pack)
    world, (last, first) = Visits(71, days=140, users=40, orders=200), LATE[request.param]
    events = with_lookers(world, world.events(3500))
    made.insert(events + world.rng.sample(events, 500))
    assert not made.round()
    world.users += [f"stranger-{n}" for n in range(10)]
    late = [one for one in world.events(900) if last <= _days_ago(one) < first]
    made.insert(late[:60])
    return made


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("line", [*DECLARED, *HELD])
async def test_funnels_are_the_same(counted: Site, pack: Pack, line: str, span: str) -> None:
    late = counted.tenant.removeprefix("funnels-")
    for window in WINDOWS[(len(line) + len(span)) % 4 :: 4] if line in HELD else (0,):
        used = await counted.check_funnel(funnel(counted, pack, line, span, window))
        assert used or span in ("a day", "today")
        if late != "here and there" and line in DECLARED:
            ways = any("FROM daily_ways" in sql for sql in counted.spy.asked)
            assert ways if span == "all" else not (ways and span == "today")


async def test_what_days_do_not_hold_is_read_from_events(counted: Site, pack: Pack) -> None:
    for line in ("impression,open,purchase", "activity,purchase", "purchase,conversion", "user_engaged,purchase"):
        assert not await counted.check_funnel(funnel(counted, pack, line, "until now", WINDOWS[2]))
    plain = funnel(counted, pack, HELD[0], "until now", WINDOWS[2])
    for more in ({"filters": {Dimension.SEGMENT: "DORMANT"}}, {"filters": {Dimension.CAMPAIGN: "c1"}}):
        assert not await counted.check_funnel(replace(plain, asked=replace(plain.asked, **more)))


async def test_somebody_comes_far_in_every_declared_funnel(counted: Site, pack: Pack) -> None:
    """A test over nothing proves nothing."""
    for line in DECLARED:
        named = funnel(counted, pack, line, "until now", 0)
        assert [one["users"] > 0 for one in (await counted.funnel(named))["funnel"]][:3] == [True] * 3


@pytest.mark.parametrize("seed", range(3))
async def test_rounds_that_break_off_change_nothing(site: Site, pack: Pack, seed: int) -> None:
    """Events in any order, repeated, late; rounds that end after any write."""
    rng, world = Random(seed), Visits(60 + seed, days=(20, 60, 120)[seed], users=40, orders=150)
    events = with_lookers(world, world.events(500))
    rng.shuffle(events)
    while events:
        some = [events.pop() for _ in range(min(len(events), rng.randrange(1, 300)))]
        site.insert(some + rng.sample(some, len(some) // 3))
        for _ in range(rng.randrange(3)):
            site.breaking.left = rng.choice((0, 1, 5, 14, 19, 20, 21, 22, 23, 24, 25, 26, 1000))
            with suppress(Retryable):
                site.round(rng.choice((15.0, 61.0, 300.0)))
        await _check(site, pack, rng)
    site.breaking.left = 1000
    assert not site.round()
    await _check(site, pack, rng)


async def test_what_is_taken_out_is_no_step_any_more(site: Site, pack: Pack) -> None:
    """A click and an order that a conflict moves; before, between and after."""
    world, rng = Visits(75, days=100, users=30, orders=120), Random(75)
    events = world.events(600)
    site.insert(events)
    assert not site.round()
    for kind in ("campaign_clicked", "user_purchased"):
        gone = min((one for one in events if one["event_type"] == kind), key=lambda one: str(one["timestamp"]))
        row = site.take_out(gone)
        site.round(200)
        await _check(site, pack, rng)
        site.forget(gone, row)
        await _check(site, pack, rng)
        site.round(200)
        site.round(200)
        covered = await site.covered()
        assert covered and not any(covered.dirty)
        await _check(site, pack, rng)


def test_every_step_of_the_declared_funnels_has_a_kind(pack: Pack) -> None:
    known, orders = {*kinds(pack)}, {*pack.roles["purchase"]}
    for found in DECLARED.values():
        for step in found.steps:
            assert {ref for one in step.events for ref in refs_of(one, pack)} <= known | orders
    assert not known & orders and len(known) < 256


def _days_ago(event: Event) -> float:
    return (NOW - datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")).timestamp()) / DAY


async def _check(site: Site, pack: Pack, rng: Random) -> None:
    for line in (rng.choice([*DECLARED]), rng.choice(HELD)):
        await site.check_funnel(funnel(site, pack, line, rng.choice([*SPANS]), rng.choice(WINDOWS)))
    assert site.at < NOW + DAY
