"""`GET /corrections` by HTTP: what moved on closed days, before and after, against the raw events of the day."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from api.reader import ClickHouseReader
from api.times import iso
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.ask import get
from tests.api.conftest import Site as Web
from tests.api.rolled import MIDNIGHT, Site
from tests.api.shop import Shop
from tests.api.world import DAY, NOW, Event
from tests.oracle.days import BY_CAMPAIGN, DAY_MS, MONEY, PEOPLE, Count, Place, days

SPAN = {"start": iso(int((NOW - DAY) * 1000)), "end": iso(int((NOW + DAY) * 1000))}
FAMILIES = {*BY_CAMPAIGN, *MONEY, *PEOPLE, "signed_up", "newcomers"}
Moves = dict[Place, tuple[Count | None, Count | None]]


@pytest.fixture
def rolled(tenant: str, store: Warehouse, reader: ClickHouseReader, pack: Pack) -> Site:
    return Site(f"corrected-{tenant}", store, reader, pack)


def closed(events: list[Event]) -> dict[Place, Count]:
    """What closed days hold."""
    return {place: count for place, count in days(events).items() if place.day < MIDNIGHT // DAY_MS}


def moved(before: dict[Place, Count], after: dict[Place, Count]) -> Moves:
    """Where counts are others, of days that had been counted."""
    counted = {place.day for place in before}
    places = [place for place in {*before, *after} if place.day in counted]
    return {one: (before.get(one), after.get(one)) for one in places if before.get(one) != after.get(one)}


def place_of(row: dict[str, Any]) -> Place:
    day = int(datetime.fromisoformat(row["day"]).replace(tzinfo=UTC).timestamp()) // DAY
    return Place(day, row["counted"], row["dimension"], row["value"])


def shown(place: Place, was: Count | None, now: Count | None) -> dict[str, Any]:
    """The numbers of a row of the answer."""
    nothing = Count(0, 0 if place.family in MONEY else None, 0 if place.family in PEOPLE else None)
    was, now = was or nothing, now or nothing
    told = {"events": _pair(was.events, now.events), "amount": None, "users": None}
    if was.micros is not None and now.micros is not None:
        told["amount"] = _pair(Fraction(was.micros, 1_000_000), Fraction(now.micros, 1_000_000))
    if was.users is not None and now.users is not None:
        told["users"] = _pair(was.users, now.users)
    return told


def _pair(before: int | Fraction, after: int | Fraction) -> dict[str, Any]:
    """How digits far behind the point come out is another test's business."""
    change = pytest.approx(float(after - before), rel=1e-9, abs=1e-9)
    return {"before": float(before), "after": float(after), "change": change}


async def told(web: Web, tenant: str, **more: Any) -> list[dict[str, Any]]:
    answer = await get(web, tenant, "/corrections", **{**SPAN, "limit": 1000, **more})
    assert answer["total"] >= len(answer["corrections"])
    found: list[dict[str, Any]] = answer["corrections"]
    return found


def numbers(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("events", "amount", "users")}


async def test_what_late_events_moved_is_told_as_the_raw_events_have_it(web_site: Web, rolled: Site) -> None:
    """Rounds of late events, some of orders that were known: each place once, with its numbers before and after."""
    rng, world = Random(17), Shop(17, days=18, users=40, orders=90)
    events = world.events(500)
    rolled.insert(events + rng.sample(events, 100))
    assert not rolled.round()
    assert await told(web_site, rolled.tenant) == [], "nothing moved that was counted for the first time"
    seen: set[str] = set()
    pages: list[dict[str, Any]] = []
    for _ in range(4):
        late = world.events(rng.choice((1, 6, 30)))
        before, events, since = closed(events), [*events, *late], rolled.at
        rolled.insert(late + rng.sample(events, 20))
        assert not rolled.round()
        wanted = moved(before, closed(events))
        rows = await told(web_site, rolled.tenant, start=iso(int(since * 1000) + 1))
        assert {place_of(row): numbers(row) for row in rows} == {at: shown(at, *both) for at, both in wanted.items()}
        assert len(rows) == len(wanted)
        seen |= {place.family for place in wanted}
        pages = rows + pages
    assert seen == FAMILIES, "every family must move"
    every = await told(web_site, rolled.tenant)
    assert [row["found_at"] for row in every] == sorted((row["found_at"] for row in pages), reverse=True)
    some = [row for at in range(0, len(every), 50) for row in await told(web_site, rolled.tenant, limit=50, offset=at)]
    assert some == every and len(every) == len(pages) > 100


async def test_what_was_taken_out_moves_numbers_down(web_site: Web, rolled: Site) -> None:
    """The first event of an order that a conflict moved: its order is another day's now."""
    world = Shop(18, days=18, users=40, orders=60)
    events = world.events(400)
    rolled.insert(events)
    assert not rolled.round()
    bought = sorted((one for one in events if one["event_type"] == "user_purchased"), key=lambda one: one["timestamp"])
    orders = [one["properties"]["order_id"] for one in bought]
    gone = next(one for one in bought if orders.count(one["properties"]["order_id"]) > 1)
    before, after = closed(events), closed([one for one in events if one is not gone])
    row = rolled.take_out(gone)
    rolled.round(200)
    rolled.forget(gone, row)
    rolled.round(200)
    assert not rolled.round(200)
    rows = await told(web_site, rolled.tenant)
    wanted = moved(before, after)
    assert {place_of(one): numbers(one) for one in rows} == {at: shown(at, *both) for at, both in wanted.items()}
    changes = [one["events"]["change"] for one in rows if one["counted"] == "purchased" and not one["dimension"]]
    assert sorted(changes) == [-1, 1]


async def test_a_closed_day_without_events_is_told_of_as_well(web_site: Web, rolled: Site) -> None:
    """Its numbers were 0, and somebody has read them."""
    world = Shop(19, days=18)
    events, first = world.events(300), MIDNIGHT // DAY_MS - 6
    other_days = [one for one in events if datetime.fromisoformat(one["timestamp"]).timestamp() // DAY != first]
    rolled.insert(other_days)
    assert not rolled.round()
    late = {**other_days[0], "event_id": world.uuid(), "timestamp": iso(first * DAY_MS + 5000)}
    rolled.insert([late])
    assert not rolled.round()
    rows = await told(web_site, rolled.tenant)
    assert [one["events"] for one in rows if place_of(one) == (first, "all", None, None)] == [_pair(0, 1)]


async def test_a_change_of_money_has_the_digits_of_its_sides(web_site: Web, rolled: Site) -> None:
    """Both are whole millionths, and so is what lies between them."""
    spent = {"event_type": "campaign_spend_recorded", "timestamp": iso((MIDNIGHT // DAY_MS - 3) * DAY_MS + 5000)}
    world = Shop(20)
    base, campaign = world.event(), world.uuid()
    for amount in (97, 2.430206):
        told_of = {"campaign_id": campaign, "amount": amount}
        rolled.insert([{**base, **spent, "event_id": world.uuid(), "properties": told_of}])
        assert not rolled.round()
    rows = [row for row in await told(web_site, rolled.tenant) if row["counted"] == "spent"]
    assert [row["amount"] for row in rows] == [{"before": 97, "after": 99.430206, "change": 2.430206}] * 2


@pytest.fixture
def web_site(site: Web) -> Web:
    """The app; beside the tenant's rounds, which are a site as well."""
    return site
