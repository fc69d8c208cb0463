"""Rollups answer what the events answer, to the last digit, whatever came late, was taken out or broke off."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from random import Random

import orjson
import pytest

from api.corrections import correction_rows, metrics_by_family
from api.measures import MEASURES
from api.reader import ClickHouseReader
from api.rollups.coverage import Coverage
from api.rollups.families import Reach
from api.rollups.standing import CoverageReader
from api.slices import Interval
from schemas.errors import Retryable
from schemas.metrics import Dimension, Metric, shipped_dictionary
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from stream_processors.watch.rollup_watch import batches
from tests.api.rolled import DAY_MS, END, MIDNIGHT, RANGES, Site
from tests.api.world import DAY, NOW, Event, World

ROLLED = [
    metric
    for metric in shipped_dictionary().metrics
    if metric.id
    in {
        "roas", "ctr", "conversion_rate", "cac", "cpc", "impressions", "budget_utilization", "aov", "engagement_rate",
        "open_rate", "average_frequency", "revenue", "purchases", "active_users", "events", "repeat_purchase_rate",
        "ltv", "cac_payback",
    }
]  # fmt: skip
INTERVALS = [None, Interval.DAY, Interval.WEEK, Interval.MONTH]


@pytest.fixture
def site(tenant: str, store: Warehouse, reader: ClickHouseReader, pack: Pack) -> Site:
    return Site(f"rolled-{tenant}", store, reader, pack)


@pytest.fixture(scope="module")
def counted(store: Warehouse, reader: ClickHouseReader, pack: Pack) -> Site:
    """A tenant whose days are counted, with repeated rows and some that came after the count."""
    made = Site("rolled-counted", store, reader, pack)
    world = World(21, users=150, orders=300)
    events = world.events(900)
    made.insert(events + world.rng.sample(events, 200))
    assert not made.round()
    late = [one for one in world.events(60) if one["timestamp"] < "2026-11-14"]
    assert late
    made.insert(late)
    return made


@pytest.mark.parametrize("metric", ROLLED, ids=lambda m: m.id)
async def test_rollups_answer_as_events_do(counted: Site, metric: Metric) -> None:
    """In all, by group, filtered, and both, with days of which something came after they were counted."""
    rng, used = Random(metric.id), 0
    for span, at in RANGES.items():
        used += await counted.check(metric, counted.asked(at, interval=rng.choice(INTERVALS)))
        dimension = rng.choice(metric.dimensions)
        split = counted.asked(at, interval=rng.choice(INTERVALS), group_by=dimension)
        used += await counted.check(metric, split)
        found = await counted.metrics(None).answer(metric, split, counted.pack, limit=1000)
        filters = {dimension: rng.choice(found["groups"])["group"]}
        split = None if span == "whole days" else dimension
        asked = counted.asked(at, interval=rng.choice(INTERVALS), filters=filters, group_by=split)
        used += await counted.check(metric, asked)
    assert used or metric.id == "repeat_purchase_rate", "a repeat cannot be put together from days"


@pytest.mark.parametrize("span", RANGES)
async def test_kpis_are_made_of_the_same_facts(counted: Site, span: str) -> None:
    assert await counted.check_kpis(RANGES[span]) >= 6
    within_a_day = (MIDNIGHT - 7_000_000, MIDNIGHT - 1_000_000)
    await counted.check_kpis(within_a_day)


async def test_every_rolled_dimension_of_the_dictionary_is_rolled_up() -> None:
    """A metric that can be split by a dimension finds it in its rollups."""
    for metric in shipped_dictionary().metrics:
        for name in (metric.measures.numerator, metric.measures.denominator):
            family = MEASURES[name].family if name in MEASURES else None
            if family and not metric.by_campaign:
                assert set(metric.dimensions) <= set(family.dimensions), (metric.id, family.id)


async def test_before_a_count_and_under_another_definition_events_are_read(site: Site) -> None:
    assert await site.covered() is None
    site.insert(World(3).events(50))
    site.round()
    assert await site.covered() is not None
    other = CoverageReader(site.spy, site.clock, lambda pack: "other")
    assert await other.of(site.tenant, site.pack) is None
    site.clock.advance(7 * 3600)
    assert await site.covered() is None, "nobody counts any more"


async def test_what_came_late_shows_at_once_and_is_told(site: Site) -> None:
    """An event of a counted day shows before the day is counted again; then the corrections say what moved."""
    world = World(4, users=60, orders=80)
    site.insert(world.events(400))
    assert not site.round()
    whole = await site.covered()
    assert whole and not any(whole.dirty)
    clicks = next(metric for metric in ROLLED if metric.id == "ctr")
    late = next(one for one in world.events(500) if one["event_type"] == "campaign_clicked" and _closed(one))
    site.insert([late])
    dirty = await site.covered()
    assert dirty and dirty.dirty[0] == dirty.dirty[2] == {_day(late)}
    await site.check(clicks, site.asked(RANGES["until now"]))
    assert not site.round()
    assert await site.check(clicks, site.asked(RANGES["until now"]))
    told = site.store.query(
        "SELECT family, dimension, value, toInt64(events_after) - toInt64(events_before) AS more FROM corrections FINAL"
        " WHERE tenant = {tenant:String} ORDER BY family, dimension",
        {"tenant": site.tenant},
    )
    campaign = late["properties"]["campaign_id"]
    assert [tuple(row.values()) for row in told if row["family"] in ("all", "clicked")] == [
        (family, *at, 1) for family in ("all", "clicked") for at in (("", ""), ("campaign_id", campaign))
    ]
    assert {row["family"] for row in told} <= {"all", "clicked", "active"}
    moved, total = await correction_rows(
        site.spy, site.tenant, metrics_by_family(shipped_dictionary(), site.pack), 0, END + DAY_MS, limit=1000
    )
    assert total == len(told) == len(moved)
    (clicked,) = [one for one in moved if one["counted"] == "clicked" and one["dimension"]]
    assert clicked["value"] == campaign and clicked["amount"] is None and clicked["events"]["change"] == 1
    assert clicked["day"] == late["timestamp"][:10] and {"ctr", "cpc"} <= set(clicked["metrics"])


async def test_an_order_reaches_the_days_of_its_order_and_of_its_user(site: Site) -> None:
    """A purchase that comes late takes an order from a later day, and a customer's first day from another."""
    world = World(5)
    base = {**world.event(), "event_type": "user_purchased", "user_id": "buyer"}

    def bought(day: int, order: str) -> Event:
        at = datetime.fromtimestamp(MIDNIGHT / 1000 - day * DAY + 500, UTC).isoformat()
        return {
            **base,
            "event_id": world.uuid(),
            "timestamp": at.replace("+00:00", "Z"),
            "properties": {"order_id": order, "order_value": 5.0},
        }

    first, second = world.uuid(), world.uuid()
    site.insert([bought(4, first), bought(2, second)])
    assert not site.round()
    site.insert([bought(6, second)])
    covered = await site.covered()
    days = [MIDNIGHT // DAY_MS - day for day in (6, 2, 4)]
    reached = [[days[0]], sorted(days[:2]), sorted(days), sorted(days), sorted({*days, days[0] + 1})]
    assert covered and [sorted(one) for one in covered.dirty] == reached
    for name in ("purchases", "revenue", "cac", "events"):
        metric = next(one for one in ROLLED if one.id == name)
        await site.check(metric, site.asked(RANGES["until now"], interval=Interval.DAY))
    assert not site.round()
    for name in ("purchases", "revenue", "cac", "events"):
        metric = next(one for one in ROLLED if one.id == name)
        assert await site.check(metric, site.asked(RANGES["until now"], interval=Interval.DAY))


async def test_what_is_taken_out_leaves_the_rollups(site: Site) -> None:
    """An event that a conflict moved is dirty until it is settled, and gone after."""
    world = World(6, users=40)
    events = [one for one in world.events(300) if _closed(one)]
    gone = next(one for one in events if one["event_type"] == "campaign_converted")
    gone["properties"]["campaign_id"] = world.uuid()
    site.insert(events)
    assert not site.round()
    row = site.take_out(gone)
    site.round(200)
    await _check_all(site, events=("events", "roas", "conversion_rate"))
    site.forget(gone, row)
    site.round(200)
    site.round(200)
    covered = await site.covered()
    assert covered and not any(covered.dirty)
    await _check_all(site, events=("events", "roas", "conversion_rate"))
    roas = next(metric for metric in ROLLED if metric.id == "roas")
    assert await site.check(roas, site.asked(RANGES["until now"], group_by=Dimension.CAMPAIGN))


async def test_two_who_number_users_are_found_out(site: Site) -> None:
    """The same number for two users would count them as one: everything begins anew."""
    site.insert(World(7).events(100))
    row = {"tenant": site.tenant, "number": 1}
    twice = b"".join(orjson.dumps({**row, "user_id": name}) + b"\n" for name in ("one", "other"))
    site.store.insert_lines("user_numbers", twice)
    with pytest.raises(Retryable, match="numbered twice"):
        site.round()
    assert await site.covered() is None
    assert not site.round()
    await _check_all(site, events=("active_users",))


async def test_an_insert_that_took_long_is_found(site: Site) -> None:
    """It has its time from before the count, and could be seen only after."""
    world = World(8, users=60)
    site.insert(world.events(200))
    assert not site.round()
    site.at -= 50
    site.insert([one for one in world.events(30) if _closed(one)])
    covered = await site.covered()
    assert covered and any(covered.dirty)
    await _check_all(site, events=("events", "ctr"))
    site.round()
    await _check_all(site, events=("events", "ctr"))


async def test_days_close_at_midnight(site: Site) -> None:
    """The day that is under way is read from the events, and counted once it is over."""
    site.insert(World(9, users=60, days=2).events(200))
    site.round()
    today = MIDNIGHT // DAY_MS
    covered = await site.covered()
    assert covered and covered.before == today
    site.at = NOW + DAY
    assert not site.round()
    covered = await site.covered()
    assert covered and covered.before == today + 1
    events = next(metric for metric in ROLLED if metric.id == "events")
    assert await site.check(events, site.asked((MIDNIGHT, MIDNIGHT + DAY_MS)))


@pytest.mark.parametrize("seed", range(3))
async def test_rounds_that_break_off_change_nothing(site: Site, seed: int) -> None:
    """Events in any order, repeated, late; rounds that end after any write: the answers are always those of events."""
    rng, world = Random(seed), World(30 + seed, users=80, orders=120)
    events = world.events(500)
    rng.shuffle(events)
    while events:
        some = [events.pop() for _ in range(min(len(events), rng.randrange(1, 150)))]
        site.insert(some + rng.sample(some, len(some) // 3))
        for _ in range(rng.randrange(3)):
            site.breaking.left = rng.choice((0, 1, 2, 5, 9, 14, 1000))
            if rng.random() < 0.3:
                site.watch = site.new_watch()
            with suppress(Retryable):
                site.round(rng.choice((15.0, 61.0, 300.0)))
        await _check_all(site, rng=rng)
        await site.check_kpis(RANGES[rng.choice([*RANGES])])
    site.breaking.left = 1000
    assert not site.round()
    await _check_all(site, rng=rng)
    assert await site.check_kpis(RANGES["cut days"])


def test_days_are_counted_together_up_to_a_number_of_events() -> None:
    sizes = {1: 4_000_000, 2: 1_000_000, 3: 1, 4: 9_000_000, 5: 10}
    assert list(batches([1, 2, 3, 4, 5], sizes)) == [[1, 2], [3], [4], [5]]
    assert list(batches([], sizes)) == []


def test_a_range_is_split_into_counted_days_and_the_rest() -> None:
    covered = Coverage(10, (frozenset({4, 6}), frozenset(), frozenset()))
    day = DAY_MS
    assert covered.split(2 * day - 1, 12 * day + 5, Reach.DAY) == (
        [(2, 4), (5, 6), (7, 10)],
        ((2 * day - 1, 2 * day), (4 * day, 5 * day), (6 * day, 7 * day), (10 * day, 12 * day + 5)),
    )
    assert covered.split(4 * day, 5 * day, Reach.DAY) == ([], ((4 * day, 5 * day),))
    assert covered.split(4 * day, 7 * day, Reach.ORDERS) == ([(4, 7)], ())
    assert covered.split(5 * day + 1, 6 * day, Reach.ORDERS) == ([], ((5 * day + 1, 6 * day),))
    assert covered.split(20 * day, 21 * day, Reach.ORDERS) == ([], ((20 * day, 21 * day),))


async def _check_all(site: Site, *, events: Sequence[str] = (), rng: Random | None = None) -> None:
    chosen = rng.sample(ROLLED, 2) if rng else [metric for metric in ROLLED if metric.id in events]
    for metric in chosen:
        interval = rng.choice(INTERVALS) if rng else Interval.DAY
        split = rng.choice([None, *metric.dimensions]) if rng else None
        await site.check(metric, site.asked(RANGES["until now"], interval=interval, group_by=split))


def _day(event: Event) -> int:
    return int(datetime.fromisoformat(event["timestamp"]).timestamp()) // DAY


def _closed(event: Event) -> bool:
    return _day(event) < MIDNIGHT // DAY_MS
