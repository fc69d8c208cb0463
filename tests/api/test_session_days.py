"""What sessions tell of their length, day by day: by hand, against loops over the events, and out of counted days."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest

from api.kpi_facts import read_facts
from api.reader import ClickHouseReader
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.rolled import DAY_MS, END, MIDNIGHT, Site
from tests.api.shop import Shop, one
from tests.api.world import Event
from tests.oracle.kpis import kpis as oracle

HOUR_MS = 3_600_000


@pytest.fixture
def site(tenant: str, store: Warehouse, reader: ClickHouseReader, pack: Pack) -> Site:
    return Site(f"sessions-{tenant}", store, reader, pack)


def told(day: int, hour: float, seconds: int, user: str = "u") -> Event:
    """Session `s` of a user has lasted so long, so many days before the last midnight."""
    at = (MIDNIGHT - day * DAY_MS + hour * HOUR_MS) / 1000
    name = f"{user}-{day}-{hour}-{seconds}"
    return one("user_engaged", at, user, name, engagement_type="search", session_duration_seconds=seconds)


async def lengths(site: Site, span: tuple[int, int], *, rolled: bool = False) -> tuple[int, int]:
    """Seconds and sessions of a range."""
    covered = await site.covered() if rolled else None
    assert covered or not rolled
    facts = await read_facts(site.spy, site.asked(span), site.pack, covered)
    assert facts["session_seconds"] is not None and facts["timed_sessions"] is not None
    return int(facts["session_seconds"]), int(facts["timed_sessions"])


async def test_what_was_known_is_not_told_again(site: Site) -> None:
    """Over midnight a session is two, and after a silent day it begins anew; parts of a range add up to it."""
    site.insert([told(5, 23, 300), told(5, 23.75, 600), told(4, 1, 900), told(4, 2, 850), told(2, 5, 50)])
    site.insert([told(4, 1, 10, "other"), told(4, 3, 0, "third")])
    assert not site.round()
    first, second, later = (MIDNIGHT - day * DAY_MS for day in (5, 4, 2))
    expected = {
        (first, MIDNIGHT): (600 + 300 + 50 + 10, 5),
        (first, second): (600, 1),
        (second, MIDNIGHT): (300 + 50 + 10, 4),
        (first, first + 23 * HOUR_MS + 1): (300, 1),
        (first + 23 * HOUR_MS + 1, second): (300, 1),
        (second + HOUR_MS + 1, MIDNIGHT): (50, 3),
        (later, MIDNIGHT): (50, 1),
        (later + 6 * HOUR_MS, MIDNIGHT): (0, 0),
    }
    for span, wanted in expected.items():
        assert (await lengths(site, span), await lengths(site, span, rolled=True)) == (wanted, wanted), span


async def test_what_comes_late_changes_the_day_after(site: Site) -> None:
    """The next day had told what the late event says was known before."""
    site.insert([told(4, 1, 900), told(3, 1, 40, "other")])
    assert not site.round()
    assert await lengths(site, (MIDNIGHT - 4 * DAY_MS, MIDNIGHT), rolled=True) == (940, 2)
    site.insert([told(5, 23, 600)])
    span = (MIDNIGHT - 4 * DAY_MS, MIDNIGHT)
    assert await lengths(site, span, rolled=True) == (340, 2), "at once"
    assert not site.round()
    site.spy.asked.clear()
    assert await lengths(site, span, rolled=True) == (340, 2), "and when it is counted"
    families = site.store.query(
        "SELECT DISTINCT family FROM corrections FINAL WHERE tenant = {t:String} AND toInt32(day) = {d:Int32}",
        {"t": site.tenant, "d": MIDNIGHT // DAY_MS - 4},
    )
    assert families == [{"family": "session_days"}], "nothing else of that day moved"


async def test_a_length_is_read_however_it_is_written(site: Site) -> None:
    """A name may be written with escapes; a text is no length."""
    event = {**told(3, 1, 70), "event_id": "escaped"}
    site.insert([event])
    line = site.store.query(
        "SELECT * FROM events WHERE event_id = 'escaped' AND tenant = {t:String}", {"t": site.tenant}
    )
    assert len(line) == 1
    for name, properties in (("a", r'{"\u0073ession_duration_seconds":80}'), ("b", '{"session_duration_seconds":"9"}')):
        site.store.command(
            "INSERT INTO events (tenant, event_id, event_type, timestamp, received_at, user_id, session_id, properties)"
            " SELECT tenant, {name:String}, event_type, timestamp, received_at, {name:String}, session_id, {p:String}"
            " FROM events WHERE event_id = 'escaped' AND tenant = {t:String}",
            {"name": name, "p": properties, "t": site.tenant},
        )
    assert await lengths(site, (MIDNIGHT - 4 * DAY_MS, MIDNIGHT)) == (150, 2)


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_of_arrival_gives_what_loops_over_the_events_give(site: Site, seed: int) -> None:
    """Dense sessions, repeated and late, half of them counted before the rest comes."""
    world, rng = Shop(90 + seed, days=12, users=5), Random(seed)
    events = world.events(500)
    shuffled = events + rng.sample(events, 100)
    rng.shuffle(shuffled)
    for part in (shuffled[:300], shuffled[300:550], shuffled[550:]):
        site.insert(part)
        site.round()
    cuts = sorted(rng.randrange(END - 11 * DAY_MS, END) for _ in range(4))
    spans = [(cuts[0], cuts[3]), (cuts[1], cuts[2]), (MIDNIGHT - 9 * DAY_MS, MIDNIGHT), (END - 20 * DAY_MS, END)]
    for span in spans:
        seconds, sessions = await lengths(site, span)
        wanted = oracle(events, *span)["avgSessionDuration"]
        assert (Fraction(seconds, 60 * sessions) if sessions else None) == wanted, span
        assert await lengths(site, span, rolled=True) == (seconds, sessions), span
    whole, *parts = [(cuts[0], cuts[3]), *pairwise(cuts)]
    assert sum([(await lengths(site, part))[0] for part in parts]) == (await lengths(site, whole))[0]
