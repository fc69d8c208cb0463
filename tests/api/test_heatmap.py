"""The engagement heatmap on the real engine, against loops over the events in local time, and its hours of the week."""

from __future__ import annotations

import functools
import re
from collections import Counter
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from api.heatmap import in_words
from api.reader import ClickHouseReader
from api.times import iso, parse
from api.weeks import DAYS, HOUR, exposure, zones
from schemas.errors import ConfigError
from schemas.heatmap import SHIPPED, load_heatmap
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.shop import Put, Shop, one, order, store_shuffled
from tests.api.world import DAY, NOW, Event
from tests.oracle.facts import Fact
from tests.oracle.metrics import Oracle, Scope

END = int(NOW * 1000)
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe")
METRICS = ("activity", "active_users", "opens", "clicks", "purchases")
SPAN = (END - 60 * DAY * 1000, END - 2 * DAY * 1000)


@pytest.fixture(scope="module")
def shop(store: Warehouse, pack: Pack) -> list[Event]:
    return store_shuffled(store, pack, "heat-shop", Shop(61, days=70), 1500)


def local(ms: int, zone: str) -> tuple[str, int]:
    moment = datetime.fromtimestamp(ms / 1000, ZoneInfo(zone))
    return DAYS[moment.weekday()], moment.hour


def rows_of(oracle: Oracle, metric: str, scope: Scope) -> list[Fact]:
    if metric == "purchases":
        return oracle.conversions(scope) if scope.about_a_campaign else oracle.orders(scope)
    if metric == "clicks":
        return oracle.clicks(scope)
    if metric == "opens":
        return oracle.opens(scope)
    kinds = ("user_engaged", "campaign_clicked", "message_opened", "user_purchased", "user_signed_up")
    return [*oracle._in(scope, *kinds), *oracle.opens(scope)]


@functools.cache
def hours_of(span: tuple[int, int], zone: str) -> dict[tuple[str, int], Fraction]:
    """How many hours of a range of whole minutes fell into each cell, minute by minute."""
    walked = Counter(local(ms, zone) for ms in range(*span, 60_000))
    return {(day, hour): Fraction(walked[day, hour], 60) for day in DAYS for hour in range(24)}


def check(told: dict[str, Any], facts: list[Fact], metric: str, zone: str, span: tuple[int, int] = SPAN) -> None:
    """Every cell: events, people, the average of an hour, the share of the busiest and the level; and the words."""
    events = Counter(local(one.ms, zone) for one in facts)
    people = Counter(place for place, _ in {(local(one.ms, zone), one.user_id) for one in facts})
    assert told["count"] == len(facts) and told["users"] == len({one.user_id for one in facts})
    value, hours = people if metric == "active_users" else events, hours_of(span, zone)
    rates = {place: value[place] / hours[place] for place in hours if hours[place]}
    judged = {place: rate for place, rate in rates.items() if hours[place] >= 1}
    most = max(judged.values())
    cells: list[dict[str, Any]] = []
    for day, hour in hours:
        place, share = (day, hour), judged[day, hour] / most if (day, hour) in judged else None
        cells.append({
            "day": day, "hour": hour, "count": events[place], "users": people[place], "hours": float(hours[place]),
            "per_hour": float(rates[place]) if place in rates else None,
            "share_of_peak": None if share is None else float(share),
            "level": None if share is None else level_of(share),
        })  # fmt: skip
    assert told["cells"] == cells
    for listed, level, sign in (("peaks", "peak", -1), ("quiet", "low", 1)):
        found = [cell for cell in cells if cell["level"] == level]
        found.sort(key=lambda cell: sign * judged[cell["day"], cell["hour"]])
        assert told[listed] == found[:10] and told[f"{listed.removesuffix('s')}_cells"] == len(found), listed
    if "insights" in told:
        check_words(told["insights"], judged, value, hours, zone)


def level_of(share: Fraction) -> str:
    reached = [name for name, least in (("low", 0), ("medium", 20), ("high", 40), ("peak", 60)) if share * 100 >= least]
    return reached[-1]


Place = tuple[str, int]
PLACE = r"(\w+day \d\d:00)"
NUMBER = r"(less than 0\.01|[\d,.]*\d)"


def check_words(
    told: list[str],
    judged: dict[Place, Fraction],
    value: Counter[Place],
    hours: dict[Place, Fraction],
    zone: str,
) -> None:
    """Each sentence's places and numbers; which sentences there are."""
    top = busiest(judged)
    levels = {place: level_of(rate / judged[top]) for place, rate in judged.items()}
    peaks, quiet = ([place for place in judged if levels[place] == level] for level in ("peak", "low"))
    mean = sum(value[place] for place in judged) / sum(hours[place] for place in judged)
    wanted: list[tuple[str, list[Any]]] = [
        (rf"Busiest: {PLACE} \({re.escape(zone)}\) with {NUMBER} an hour\.", [named(top), judged[top]]),
        (rf"That is {NUMBER} times the mean of {NUMBER} an hour\.", [judged[top] / mean, mean]),
        (rf"{NUMBER} of {NUMBER} hours of the week are at the level peak\.", [len(peaks), len(judged)]),
    ]
    for name, days in (("Weekdays", DAYS[:5]), ("Weekends", DAYS[5:])):
        own = {place: rate for place, rate in judged.items() if place[0] in days}
        if any(own.values()):
            each = sum(value[place] for place in own) / sum(hours[place] for place in own)
            best = busiest(own)
            sentence = rf"{name} bring {NUMBER} an hour; their busiest is {PLACE} with {NUMBER}\."
            wanted.append((sentence, [each, named(best), own[best]]))
    if quiet:
        share = Fraction(100 * sum(value[place] for place in quiet), sum(value.values()))
        sentence = rf"{NUMBER} hours are at the level low; together they bring {NUMBER} % of it all\."
        wanted.append((sentence, [len(quiet), share]))
    assert len(told) == len(wanted), told
    for text, (pattern, parts) in zip(told, wanted, strict=True):
        found = re.fullmatch(pattern, text)
        assert found, (text, pattern)
        assert all(said(*pair) for pair in zip(found.groups(), parts, strict=True)), (text, parts)


def busiest(rates: dict[Place, Fraction]) -> Place:
    """Of those that are equally busy the first of the week."""
    most = max(rates.values())
    return next(place for place in rates if rates[place] == most)


def named(place: Place) -> str:
    return f"{place[0].capitalize()} {place[1]:02d}:00"


def said(text: str, value: Fraction | int | str) -> bool:
    """Whether a sentence's word is this place or number: whole from 100 on, else with two digits."""
    if isinstance(value, str):
        return text == value
    if text.startswith("less"):
        return 0 < value < Fraction(1, 100)
    shown = Fraction(text.replace(",", ""))
    return abs(shown - value) <= (Fraction(1, 2) if value >= 100 else Fraction(5001, 1_000_000))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("zone", ZONES)
async def test_every_cell_equals_the_independent_count(site: Site, shop: list[Event], metric: str, zone: str) -> None:
    """Over a change of the clocks, with repeats and repeated orders."""
    params = {"start": iso(SPAN[0]), "end": iso(SPAN[1]), "metric": metric, "timezone": zone}
    told = await get(site, "heat-shop", "/heatmap", **params)
    facts = rows_of(Oracle(shop), metric, Scope(*SPAN))
    assert len(facts) > 20, "a test over nothing proves nothing"
    check(told, facts, metric, zone)


@pytest.mark.parametrize("metric", METRICS)
async def test_filters_and_comparison_equal_the_independent_count(site: Site, shop: list[Event], metric: str) -> None:
    campaign = next(e["properties"]["campaign_id"] for e in shop if e["event_type"] == "campaign_converted")
    params = {"start": iso(SPAN[0]), "end": iso(SPAN[1]), "metric": metric, "timezone": "Europe/Berlin"}
    told = await get(
        site, "heat-shop", "/heatmap", **params, segment="HIGH_SPENDER", compare_segment="FREQUENT_SHOPPER"
    )
    oracle = Oracle(shop)
    for one_week, segment in ((told, "HIGH_SPENDER"), (told["comparison"], "FREQUENT_SHOPPER")):
        check(one_week, rows_of(oracle, metric, Scope(*SPAN, segment=segment)), metric, "Europe/Berlin")
    peaks = [
        {f"{c['day']} {c['hour']:02d}:00" for c in w["cells"] if c["level"] == "peak"}
        for w in (told, told["comparison"])
    ]
    assert set(told["comparison"]["shared_peaks"]) == peaks[0] & peaks[1]
    assert set(told["comparison"]["own_peaks"]) == peaks[1] - peaks[0]
    told = await get(site, "heat-shop", "/heatmap", **params, campaign_id=campaign)
    check(told, rows_of(oracle, metric, Scope(*SPAN, campaign_id=campaign)), metric, "Europe/Berlin")


@pytest.mark.parametrize("metric", ["activity", "active_users"])
@pytest.mark.parametrize("hours", [7, 49, 24 * 7, 24 * 9 + 5])
async def test_short_ranges_equal_the_independent_count(site: Site, shop: list[Event], metric: str, hours: int) -> None:
    """Hours that the range cuts to less than one are not judged, and those that it lacks have no average."""
    span = END - 4 * DAY * 1000 - hours * 3_600_000, END - 4 * DAY * 1000
    params = {"start": iso(span[0]), "end": iso(span[1]), "metric": metric, "timezone": "Europe/Berlin"}
    told = await get(site, "heat-shop", "/heatmap", **params)
    facts = rows_of(Oracle(shop), metric, Scope(*span))
    assert facts, "a test over nothing proves nothing"
    check(told, facts, metric, "Europe/Berlin", span)
    assert any(cell["level"] is None for cell in told["cells"]) == (hours < 24 * 7)


@pytest.mark.parametrize("zone", [*ZONES, "America/New_York", "Pacific/Apia"])
def test_hours_of_the_week_equal_a_walk_through_the_minutes(zone: str) -> None:
    """Ranges that cut hours, over the changes of 2026 and over the day that Samoa left out."""
    rng = Random(zone)
    firsts = ["2026-03-25T10:07:00", "2026-10-20T00:00:00", "2011-12-28T05:13:00", "2026-04-01T00:30:00"]
    for first in firsts:
        start = parse(first, 0)
        minutes = rng.randrange(1, 9 * 24 * 60)
        walked = Counter(local(start + minute * 60_000, zone) for minute in range(minutes))
        told = exposure(start, start + minutes * 60_000, zone)
        expected = [walked[day, hour] * 60_000 for day in DAYS for hour in range(24)]
        assert told == expected, (zone, first, minutes)


def test_whole_weeks_hold_each_hour_once_a_week() -> None:
    start = parse("2026-06-01T03:00:00Z", 0)
    assert exposure(start, start + 20 * 7 * DAY * 1000, "UTC") == [20 * HOUR] * 168
    year = exposure(start, start + 3_700 * DAY * 1000, "Europe/Berlin")
    assert sum(year) == 3_700 * DAY * 1000
    assert exposure(start, start + 1, "UTC")[3] == 1


def test_the_hours_that_the_clocks_skip_and_repeat() -> None:
    """In Berlin 2:00 of Sunday comes not at all in March and twice in October."""
    sunday_two = 6 * 24 + 2
    spring = exposure(parse("2026-03-28", 0), parse("2026-03-30", 0), "Europe/Berlin")
    autumn = exposure(parse("2026-10-24", 0), parse("2026-10-26", 0), "Europe/Berlin")
    assert (spring[sunday_two], autumn[sunday_two]) == (0, 2 * HOUR)


async def test_clickhouse_knows_every_zone_that_may_be_asked_for(reader: ClickHouseReader) -> None:
    known = {name for (name,) in await reader.rows("SELECT time_zone FROM system.time_zones", {})}
    assert zones() - known == set() and len(zones()) > 400


async def test_one_busy_hour_by_hand(site: Site, tenant: str, insert: Put) -> None:
    """Three in the repeated hour of autumn are 1.5 an hour; two on the Monday after are more, and so the peak."""
    autumn = datetime(2026, 10, 25, 0, 10, tzinfo=ZoneInfo("UTC")).timestamp()
    monday = datetime(2026, 10, 26, 7, 0, tzinfo=ZoneInfo("UTC")).timestamp()
    insert(tenant, [
        *(one("campaign_clicked", autumn + 1800 * n, "u", f"a{n}", campaign_id=order(1)) for n in range(3)),
        *(one("campaign_clicked", monday + n, "w", f"m{n}", campaign_id=order(1)) for n in range(2)),
    ])  # fmt: skip
    span = {"start": "2026-10-24T00:00:00Z", "end": "2026-10-31T00:00:00Z"}
    told = await get(site, tenant, "/heatmap", metric="clicks", timezone="Europe/Berlin", **span)
    by_place = {(cell["day"], cell["hour"]): cell for cell in told["cells"]}
    repeated, peak = by_place["sunday", 2], by_place["monday", 8]
    assert (repeated["count"], repeated["hours"], repeated["per_hour"], repeated["level"]) == (3, 2, 1.5, "peak")
    assert (peak["per_hour"], peak["share_of_peak"], repeated["share_of_peak"]) == (2, 1, 0.75)
    assert [(cell["day"], cell["hour"]) for cell in told["peaks"]] == [("monday", 8), ("sunday", 2)]
    assert by_place["saturday", 1]["hours"] == 0, "the range begins after it and ends before it"
    assert told["quiet_cells"] == 165 and len(told["quiet"]) == 10
    assert told["insights"][0] == "Busiest: Monday 08:00 (Europe/Berlin) with 2 an hour."


async def test_an_hour_that_was_seen_for_a_moment_is_not_judged(site: Site, tenant: str, insert: Put) -> None:
    insert(tenant, [one("campaign_clicked", NOW - 1, "u", "1", campaign_id=order(1))])
    told = await get(site, tenant, "/heatmap", metric="clicks", start=iso(END - 60_000), end=iso(END))
    (cell,) = [cell for cell in told["cells"] if cell["count"]]
    assert cell["per_hour"] == 60 and cell["share_of_peak"] is None and cell["level"] is None
    assert told["peaks"] == [] and told["insights"] == []
    assert all(one["per_hour"] is None for one in told["cells"] if not one["hours"])


async def test_nothing_stored_is_quiet_and_says_nothing(site: Site, tenant: str) -> None:
    told = await get(site, tenant, "/heatmap", compare_segment="VIP")
    assert told["count"] == 0 and told["insights"] == [] and told["peaks"] == [] and told["as_of"] is None
    assert {cell["level"] for cell in told["cells"]} == {None}
    assert sum(cell["hours"] for cell in told["cells"]) == pytest.approx(timedelta(weeks=4).total_seconds() / 3600)


@pytest.mark.parametrize(
    ("params", "field", "allowed"),
    [
        ({"timezone": "Europe/Berlln"}, "timezone", "Europe/Berlin"),
        ({"timezone": "berlin"}, "timezone", "Europe/Berlin"),
        ({"timezone": "localtime"}, "timezone", None),
        ({"timezone": "../../etc/passwd"}, "timezone", None),
        ({"timezone": "America"}, "timezone", None),
        ({"timezone": ""}, "timezone", "UTC"),
        ({"metric": "sales"}, "metric", "purchases"),
        ({"start": "2026-11-02", "end": "2026-11-01"}, "start", None),
        ({"channel": "push"}, "channel", None),
    ],
)
async def test_bad_questions_are_refused(
    site: Site, tenant: str, params: dict[str, str], field: str, allowed: str | None
) -> None:
    error = await refused(site, tenant, "/heatmap", params)
    assert error["field"] == field
    assert allowed is None or allowed in error["allowed"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("from_percent: 20", "from_percent: 50", "rise"), ("from_percent: 0", "from_percent: 5", "begin at 0"),
     ("listed", "list", "listed")],
)  # fmt: skip
def test_a_fault_in_the_declaration_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path, text = tmp_path / "heatmap.yaml", SHIPPED.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load_heatmap(path)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (Fraction(15_020), "15,020"),
        (Fraction(1_000_000, 7), "142,857"),
        (Fraction(75, 4), "18.75"),
        (Fraction(3, 2), "1.5"),
        (Fraction(20), "20"),
        (Fraction(0), "0"),
        (Fraction(1, 4000), "less than 0.01"),
    ],
)
def test_numbers_in_sentences_are_as_people_write_them(number: Fraction, words: str) -> None:
    assert in_words(number) == words
