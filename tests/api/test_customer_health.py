"""Customer health on the real engine, against loops over the events, and at its edges."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from api.customer_health import HealthReader
from api.ledger import LedgerReader
from api.reader import ClickHouseReader
from api.routing import ROOT
from api.times import iso
from schemas.clock import ManualClock
from schemas.errors import ConfigError
from schemas.health import SHIPPED, load_health, shipped_health
from schemas.health.model import PARTS
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.shop import Put, Shop, one, order, store_shuffled
from tests.api.world import DAY, NOW, Event, lines
from tests.oracle.health import CATEGORIES, Scored, health

END = int(NOW * 1000)
DAY_MS = DAY * 1000
MOMENTS = {"now": END, "weeks ago": END - 23 * DAY_MS - 77, "long ago": END - 480 * DAY_MS}


@pytest.fixture(scope="module")
def shop(store: Warehouse, pack: Pack) -> list[Event]:
    """Over two years and a half, so that some were customers and are none now; most of it lately."""
    old = store_shuffled(store, pack, "health-shop", Shop(71, days=900, users=90, orders=250), 500)
    return old + store_shuffled(store, pack, "health-shop", Shop(72, days=100, users=60, orders=250), 1800)


@pytest.fixture
def insert(store: Warehouse, pack: Pack) -> Put:
    """Stores events of any age."""
    return lambda tenant, events: store.insert_lines("events", lines(events, pack, tenant, backfill=True))


@pytest.mark.parametrize("moment", MOMENTS)
async def test_everybody_is_scored_as_independently(
    reader: ClickHouseReader, clock: ManualClock, shop: list[Event], pack: Pack, moment: str
) -> None:
    """Score, segment, parts with what they were made from, and trend of every customer; who was none is not found."""
    at = MOMENTS[moment]
    readers = HealthReader(reader, LedgerReader(reader, clock), shipped_health())
    now = health(shop, at)
    before = {days: health(shop, at - days * DAY_MS) for days in (7, 14, 21, 28)}
    assert len(now) > 20 and len({scored.category for scored in now.values()}) >= 2
    for user in sorted({event["user_id"] for event in shop})[:45]:
        told = await readers.one("health-shop", pack, user, at)
        if user not in now:
            assert told is None
            continue
        assert told is not None
        mine = now[user]
        assert told["parts"] == mine.parts(), user
        assert (told["score"], told["category"]) == (mine.score / 100, mine.category)
        assert told["segment"] == (mine.segment or None)
        assert told["trend"] == [trend_of(mine, before[days].get(user), days, at) for days in before]
    every = [input_ for mine in now.values() for input_ in mine.inputs["loyalty"].items()]
    assert {pair[1] for pair in every} == {True, False} or moment == "long ago", "a test over nothing proves nothing"


def trend_of(now: Scored, then: Scored | None, days: int, at: int) -> dict[str, Any]:
    return {
        "days_ago": days,
        "at": iso(at - days * DAY_MS),
        "score": None if then is None else then.score / 100,
        "category": None if then is None else then.category,
        "change": None if then is None else (now.score - then.score) / 100,
    }


@pytest.mark.parametrize("moment", MOMENTS)
async def test_all_customers_equal_the_independent_count(site: Site, shop: list[Event], moment: str) -> None:
    at = MOMENTS[moment]
    told = await get(site, "health-shop", "/health/customers", at=iso(at), limit=2)
    now, before = health(shop, at), health(shop, at - 7 * DAY_MS)

    assert part(told) == sums(list(now.values()))
    assert told["before"] == {"at": iso(at - 7 * DAY_MS), **sums(list(before.values()))}
    names = {one.segment for one in now.values()}
    segments = [{"segment": name or None, **sums([s for s in now.values() if s.segment == name])} for name in names]
    assert told["segments"] == sorted(segments, key=lambda one: (-one["customers"], one["segment"] or ""))
    fell = sorted(
        (now[user].score - before[user].score, user) for user in now.keys() & before.keys()
        if before[user].score - now[user].score >= 1000
    )  # fmt: skip
    assert told["dropped"]["customers"] == len(fell)
    assert told["dropped"]["listed"] == [
        {
            "user_id": user,
            "segment": now[user].segment or None,
            "score": now[user].score / 100,
            "category": now[user].category,
            "score_before": before[user].score / 100,
            "category_before": before[user].category,
            "change": change / 100,
        }
        for change, user in fell[:2]
    ]
    if moment == "now":
        assert len(fell) > 2, "a test over nothing proves nothing"


def sums(some: list[Scored]) -> dict[str, Any]:
    """Customers, their mean score and their categories, as they are told."""
    counts = Counter(one.category for one in some)
    return {
        "customers": len(some),
        "mean_score": float(Fraction(sum(one.score for one in some), 100 * len(some))) if some else None,
        "categories": [
            {
                "category": name,
                "customers": counts[name],
                "share_percent": float(Fraction(100 * counts[name], len(some))) if some else None,
            }
            for name, _ in CATEGORIES
        ],
    }


def part(told: dict[str, Any]) -> dict[str, Any]:
    return {name: told[name] for name in ("customers", "mean_score", "categories")}


async def score_of(site: Site, tenant: str, user: str = "u", at: float = NOW) -> dict[str, float]:
    async with site.client(tenant) as client:
        answer = await client.get(f"{ROOT}/users/{user}/health", params={"at": iso(round(at * 1000))})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    return {part["part"]: part["points"] for part in told["parts"]} | {"score": told["score"]}


async def test_the_edges_of_each_window_by_hand(site: Site, tenant: str, insert: Put) -> None:
    """An event at the moment does not count; one 30 days before it does, and one a millisecond older is of the days
    before."""
    insert(tenant, [
        one("user_engaged", NOW - 30 * DAY, "u", "1", engagement_type="search"),
        one("user_engaged", NOW - 60 * DAY - 0.001, "u", "2", engagement_type="search"),
        one("user_purchased", NOW, "u", "3", order_id=order(1), order_value=500.0),
        one("user_unsubscribed", NOW - 90 * DAY, "u", "4", unsubscribe_type="push_only"),
    ])  # fmt: skip
    now = await score_of(site, tenant)
    assert now == {"recency": 52.63, "frequency": 100, "monetary": 0, "breadth": 33.33, "loyalty": 50, "score": 50.78}
    later = await score_of(site, tenant, at=NOW + 0.001)
    assert later["monetary"] == 100 and later["recency"] == 100 and later["loyalty"] == 100
    assert later["frequency"] == 100 and later["breadth"] == 33.33, "the search is 30 days and a moment ago"


@pytest.mark.parametrize(("days", "points"), [(0.5, 100), (3, 100), (31.5, 50), (60, 0), (364.9, 0)], ids=str)
async def test_recency_falls_in_a_straight_line(
    site: Site, tenant: str, insert: Put, days: float, points: float
) -> None:
    insert(tenant, [one("user_engaged", NOW - 20 * DAY, "u", "1", engagement_type="search")])
    assert (await score_of(site, tenant, at=NOW - 20 * DAY + days * DAY))["recency"] == points


async def test_opting_out_of_all_weighs_more_than_of_some(site: Site, tenant: str, insert: Put) -> None:
    insert(tenant, [
        one("user_engaged", NOW - 5, "u", "1", engagement_type="search"),
        one("user_unsubscribed", NOW - 4, "u", "2", unsubscribe_type="email_only"),
        one("user_unsubscribed", NOW - 3, "u", "3", unsubscribe_type="all_campaigns"),
    ])  # fmt: skip
    assert (await score_of(site, tenant, at=NOW - 3.5))["loyalty"] == 50
    assert (await score_of(site, tenant))["loyalty"] == 0


async def test_who_never_did_anything_is_no_customer(site: Site, tenant: str, insert: Put) -> None:
    """To be sent something, or to opt out, makes nobody a customer; neither does what happened a year ago."""
    insert(tenant, [one("user_unsubscribed", NOW - 4, "u", "2", unsubscribe_type="email_only")])
    async with site.client(tenant) as client:
        answer = await client.get(f"{ROOT}/users/u/health")
    assert answer.status_code == 404
    insert(tenant, [one("user_engaged", NOW - 9, "w", "5", engagement_type="search")])
    async with site.client(tenant) as client:
        path = f"{ROOT}/users/w/health"
        assert (await client.get(path, params={"at": iso(END + 365 * DAY_MS - 9000)})).status_code == 200
        assert (await client.get(path, params={"at": iso(END + 365 * DAY_MS - 8999)})).status_code == 404


async def test_nobody_at_all(site: Site, tenant: str) -> None:
    told = await get(site, tenant, "/health/customers")
    assert (told["customers"], told["mean_score"], told["segments"]) == (0, None, [])
    assert {one["share_percent"] for one in told["categories"]} == {None}
    assert told["dropped"] == {"customers": 0, "listed": []} and told["as_of"] is None


@pytest.mark.parametrize(
    ("params", "field"), [({"at": "soon"}, "at"), ({"limit": "0"}, "limit"), ({"limit": "1001"}, "limit"),
                          ({"start": "-7d"}, "start")],
)  # fmt: skip
async def test_bad_questions_are_refused(site: Site, tenant: str, params: dict[str, str], field: str) -> None:
    assert (await refused(site, tenant, "/health/customers", params))["field"] == field


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight: 30", "weight: 31", "add up to 101"),
        ("from_score: 90", "from_score: 60", "fall"),
        ("from_score: 0", "from_score: 1", "begins at 0"),
        ("full_days: 3", "full_days: 60", "less than"),
        ("breadth:", "bredth:", "breadth"),
    ],
)
def test_a_fault_in_the_declaration_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path, text = tmp_path / "health.yaml", SHIPPED.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load_health(path)
    assert set(shipped_health().weights) == set(PARTS)
