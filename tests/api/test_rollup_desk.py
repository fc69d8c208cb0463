"""`headrace rollups`: how rollups stand, whether they are right, and having them counted anew."""

from __future__ import annotations

import pytest

from api.reader import ClickHouseReader
from deploy.rollups.desk import RollupDesk
from schemas.clock import ManualClock
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.rolled import Site
from tests.api.world import NOW, World


@pytest.fixture
def site(tenant: str, store: Warehouse, reader: ClickHouseReader, pack: Pack) -> Site:
    made = Site(f"desk-{tenant}", store, reader, pack)
    made.insert(World(50, users=60).events(300))
    return made


@pytest.fixture
def desk(store: Warehouse, packs: dict[str, Pack]) -> RollupDesk:
    return RollupDesk(store, packs, ManualClock(NOW))


def quiet(what: str, done: int, total: int) -> None:
    pass


def test_standing_is_told(site: Site, desk: RollupDesk) -> None:
    (before,) = desk.standings(site.tenant)
    assert before.until is None and not before.days and before.dirty > 5
    site.round()
    (after,) = desk.standings(site.tenant)
    assert after.current and after.until == site.watch.at - 60 and len(after.days) > 5 and after.dirty == 0
    assert desk.standings("nobody") == []


@pytest.mark.parametrize("column", ["events", "micros", "users"])
def test_a_rollup_that_says_something_else_is_found(site: Site, desk: RollupDesk, column: str) -> None:
    site.round()
    (one,) = desk.standings(site.tenant)
    assert list(desk.differences(one, quiet)) == []
    other = {"events": "events + 1", "micros": "micros - 1", "users": "bitmapBuild([toUInt32(1), 9999999])"}[column]
    site.store.command(
        "INSERT INTO daily_rollups SELECT * REPLACE (" + other + " AS " + column + ", revision + 1 AS revision)"
        " FROM daily_rollups WHERE tenant = {t:String} AND family = 'converted' AND dimension = ''"
        " ORDER BY day DESC LIMIT 1",
        {"t": site.tenant},
    )
    (row,) = desk.differences(one, quiet)
    assert row["family"] == "converted" and row["dimension"] == ""


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("daily_orders", "arrayMap(one -> one + 1, micros) AS micros"),
        ("daily_orders", "arrayMap(one -> one - 1, firsts) AS firsts"),
        ("daily_signups", "arrayMap(one -> '', channels) AS channels"),
        ("daily_signups", "arraySlice(times, 1, 0) AS times, arraySlice(users, 1, 0) AS users"),
        ("daily_steps", "arrayMap(one -> toUInt8(one % 5 + 1), kinds) AS kinds"),
    ],
)
def test_a_roster_that_says_something_else_is_found(site: Site, desk: RollupDesk, table: str, change: str) -> None:
    site.round()
    (one,) = desk.standings(site.tenant)
    site.store.command(
        f"INSERT INTO {table} SELECT * REPLACE ({change}, revision + 1 AS revision)"
        f" FROM (SELECT * FROM {table} WHERE tenant = {{t:String}} AND notEmpty(users) ORDER BY day LIMIT 1)",
        {"t": site.tenant},
    )
    (row,) = desk.differences(one, quiet)
    names = {"daily_orders": "order_roster", "daily_signups": "signup_roster", "daily_steps": "step_roster"}
    assert row["family"] == names[table]


@pytest.mark.parametrize(
    "change",
    [
        "arrayMap(way -> arrayMap(at -> at + 1, way), ways) AS ways",
        "arraySlice(users, 2) AS users, arraySlice(ways, 2) AS ways",
        "bitmapBuild([toUInt32(1073741824)]) AS singles",
    ],
)
def test_ways_that_say_something_else_are_found(site: Site, desk: RollupDesk, change: str) -> None:
    site.round()
    (one,) = desk.standings(site.tenant)
    assert not list(desk.differences(one, quiet))
    site.store.command(
        f"INSERT INTO daily_ways SELECT * REPLACE ({change}, revision + 1 AS revision)"
        f" FROM (SELECT * FROM daily_ways WHERE tenant = {{t:String}} AND notEmpty(users) ORDER BY day, shard LIMIT 1)",
        {"t": site.tenant},
    )
    (row,) = desk.differences(one, quiet)
    assert row["family"] == "ways of campaign_to_purchase"


def test_rebuilding_counts_all_days_again(site: Site, desk: RollupDesk) -> None:
    """Also what nothing touched: a wrong rollup is right again; and again only once."""
    site.round()
    site.store.command(
        "INSERT INTO daily_rollups SELECT * REPLACE (events + 5 AS events, revision + 1 AS revision)"
        " FROM daily_rollups WHERE tenant = {t:String}",
        {"t": site.tenant},
    )
    assert desk.rebuild(site.tenant, quiet, wait=True, patience=3) is False, "nobody counts"
    (one,) = desk.standings(site.tenant)
    assert list(desk.differences(one, quiet))
    assert not site.round()
    assert list(desk.differences(one, quiet)) == []
    assert desk._left(site.tenant, int(NOW * 1000))[0] == 0


def test_a_rebuild_is_over_when_the_watcher_has_counted(site: Site, store: Warehouse, packs: dict[str, Pack]) -> None:
    class Waiting(ManualClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            site.round()

    desk = RollupDesk(store, packs, Waiting(NOW + 7))
    seen: list[tuple[int, int]] = []
    assert desk.rebuild(site.tenant, lambda what, done, total: seen.append((done, total)), wait=True, patience=60)
    assert seen[0][0] == 0 and seen[-1][0] == seen[-1][1] > 0
