"""Segments through the API against plain Python over the raw events: patterns, RFM, custom segments, members."""

from __future__ import annotations

import csv
import io
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from api.routing import ROOT
from schemas.keys import Role
from schemas.segments import pattern_uuid
from schemas.segments.patterns import PATTERN_IDS
from schemas.taxonomy import Pack
from tests.api.ask import get
from tests.api.conftest import Site
from tests.api.people import Truth, iso, part, purchase, random_events
from tests.api.world import DAY, NOW, Event, World, lines

TENANT = "segments"
Insert = Callable[[str, list[Event]], None]


@pytest.fixture
def insert(store: Any, pack: Pack) -> Insert:
    """Stores events of any age."""
    return lambda tenant, events: store.insert_lines("events", lines(events, pack, tenant, backfill=True))


@pytest.fixture(scope="module")
def events(store: Any, pack: Pack) -> list[Event]:
    """Stored in odd batches, some twice."""
    made = random_events(21)
    rng = World(3).rng
    shuffled = made + rng.sample(made, 300)
    rng.shuffle(shuffled)
    for start in range(0, len(shuffled), 137):
        store.insert_lines("events", lines(shuffled[start : start + 137], pack, TENANT, backfill=True))
    return made


async def define(site: Site, tenant: str, criteria: Any, name: str = "Mine") -> Any:
    async with site.client(tenant, Role.ANALYST) as client:
        answer = await client.post(f"{ROOT}/segment-users", json={"segmentName": name, "criteria": criteria})
    assert answer.status_code == 200, answer.text
    return answer.json()


TOLD: set[str] = set()


def told(site: Site, insert: Insert, tenant: str) -> None:
    """Store what was published since, as the pipeline would: an id that came before is dropped there."""
    events = [event for to, event in site.published if to == tenant]
    insert(tenant, [event for event in events if event["event_id"] not in TOLD])
    TOLD.update(event["event_id"] for event in events)
    site.published.clear()


@pytest.mark.parametrize("age", [0, 20, 45])
async def test_patterns_have_the_numbers_of_their_members(site: Site, events: list[Event], age: int) -> None:
    end = int((NOW - age * DAY) * 1000)
    truth = Truth(events, end)
    answer = await get(site, TENANT, "/segments", end=iso(end / 1000))
    assert [one["id"] for one in answer["segments"]][:2] == ["INACTIVE", "NEW_SHOPPER"]
    assert answer["total_users"] == len(truth.users) > 30 and answer["end"] == iso(end / 1000).replace("Z", ".000Z")
    for one in answer["segments"]:
        wanted = truth.numbers({u for u, segment in truth.segments.items() if segment == one["id"]})
        assert part(one, wanted) == wanted
        assert one["segment_id"] == pattern_uuid(one["id"]) and one["assigned"]
        alone = await get(site, TENANT, f"/segments/{one['id']}", end=iso(end / 1000))
        assert part(alone, wanted) == wanted and alone["definition"] == one["definition"]
    assert any(one["users"] for one in answer["segments"]) and any(one["clicks"] for one in answer["segments"])
    newest = max(f.ms for f in truth.facts if f.event_type in ("user_segmented", "user_unsegmented"))
    assert {one["last_updated"] for one in answer["segments"]} == {iso(newest / 1000).replace("Z", ".000Z")}
    assert answer["completeness"] == 100 and answer["incomplete"] is False


CRITERIA: list[dict[str, Any]] = [
    {"ltv": {"min": 100}},
    {"ltv": {"min": 0, "max": 150.5}, "orders": {"min": 1}},
    {"orders": {"max": 0}},
    {"orders": {"min": 2, "max": 3}},
    {"daysSinceSignup": {"max": 100}},
    {"daysSinceSignup": {"min": 10}},
    {"daysSinceLastOrder": {"min": 10}},
    {"daysSinceSignup": {"min": 100}, "acquisitionChannel": ["referral"]},
    {"daysSinceLastOrder": {"min": 20.5, "max": 200}},
    {"daysSinceActive": {"max": 3}},
    {"daysSinceActive": {"min": 5}},
    {"segment": ["HIGH_SPENDER", "INACTIVE", "NEW_SHOPPER", "WEEKEND_SHOPPER"]},
    {"rfmCluster": ["champions", "loyal", "potential_loyalist", "at_risk"]},
    {"rfmCluster": ["hibernating"], "daysSinceActive": {"max": 300}, "ltv": {"max": 500}, "orders": {"min": 1}},
]


@pytest.mark.parametrize("criteria", CRITERIA, ids=str)
async def test_a_custom_segment_holds_whom_its_criteria_mean(
    site: Site, events: list[Event], criteria: dict[str, Any]
) -> None:
    answer = await define(site, TENANT, criteria)
    truth = Truth(events, int(datetime.fromisoformat(answer["end"]).timestamp() * 1000))
    members = truth.members(criteria)
    wanted = truth.numbers(members)
    assert (answer["userCount"], answer["avgLtv"]) == (wanted["users"], wanted["avg_ltv"])
    assert 0 < len(members) < len(truth.users), "a test over everybody or nobody proves little"
    channels = Counter(truth.signups.get(user, (0, "", ""))[2] for user in members)
    patterns = Counter(truth.segments.get(user, "") for user in members)
    for name, counts in (("acquisitionChannels", channels), ("segments", patterns)):
        told_of = list(answer["demographics"][name].items())
        assert told_of == sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])), name
    ((to, event),) = site.published
    assert to == TENANT and event["event_type"] == "segment_defined"
    assert event["properties"]["segment_id"] == answer["segmentId"]


async def test_stored_custom_segments_have_the_numbers_of_their_members(
    site: Site, events: list[Event], insert: Insert
) -> None:
    """In the list and alone, as of now and of a moment before; all of them at once."""
    tenant = "custom-numbers"
    insert(tenant, events)
    ids = {}
    for criteria in CRITERIA:
        ids[(await define(site, tenant, criteria, str(criteria)))["segmentId"]] = criteria
    told(site, insert, tenant)
    seen = Counter[str]()
    for end in (site.clock.now() + 100, NOW - 20 * DAY):
        truth = Truth(events, int(end * 1000))
        answer = await get(site, tenant, "/segments", end=iso(end))
        assert answer["total_users"] == len(truth.users)
        shown = {one["id"]: one for one in answer["segments"] if one["kind"] == "custom"}
        assert shown.keys() == ids.keys()
        for segment_id, criteria in ids.items():
            wanted = truth.numbers(truth.members(criteria))
            one = shown[segment_id]
            assert part(one, wanted) == wanted, criteria
            told_of = {name: sorted(x) if isinstance(x, list) else x for name, x in criteria.items()}
            assert (one["name"], one["definition"]) == (str(criteria), {"criteria": told_of})
            alone = await get(site, tenant, f"/segments/{segment_id}", end=iso(end))
            assert part(alone, wanted) == wanted and alone["total_users"] == len(truth.users), criteria
            seen.update(name for name, number in wanted.items() if number)
    assert set(seen) == set(wanted), "a test over nothing proves nothing"


def stamp(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def member(truth: Truth, user: str) -> dict[str, Any]:
    """Every column of a member."""
    joined, _, channel = truth.signups.get(user, (None, "", ""))
    bought = [one.ms for one in truth.orders if one.user_id == user]
    return {
        "user_id": user,
        "segment": truth.segments.get(user) or None,
        "acquisition_channel": channel or None,
        "signed_up": None if joined is None else stamp(joined),
        "orders": len(bought),
        "ltv": float(truth.spent(user)),
        "last_order": stamp(max(bought)) if bought else None,
    }


async def check_members(site: Site, tenant: str, segment_id: str, truth: Truth, users: list[str], end: str) -> None:
    """Page by page as JSON and whole as CSV, in order and every column."""
    wanted = [member(truth, user) for user in users]
    path, found = f"/segments/{segment_id}/members", []
    for offset in range(0, 100, 7):
        page = await get(site, tenant, path, end=end, limit=7, offset=offset)
        assert page["users"] == len(users)
        found += page["members"]
    assert found == wanted
    async with site.client(tenant, Role.ANALYST) as client:
        written = await client.get(ROOT + path, params={"format": "csv", "end": end, "limit": 1000})
    assert written.headers["content-type"].startswith("text/csv")
    assert written.headers["x-total-count"] == str(len(users))
    texts = [{name: "" if value is None else str(value) for name, value in one.items()} for one in wanted]
    assert list(csv.DictReader(io.StringIO(written.text))) == texts


async def test_members_are_listed_page_by_page_as_json_and_csv(site: Site, events: list[Event], insert: Insert) -> None:
    tenant = "paged"
    insert(tenant, events)
    answer = await define(site, tenant, {"orders": {"min": 1}})
    told(site, insert, tenant)
    now = site.clock.now()
    truth = Truth(events, int(now * 1000))
    wanted = sorted(truth.members({"orders": {"min": 1}}))
    assert any(user not in truth.signups for user in wanted), "some are known by orders alone"
    await check_members(site, tenant, answer["segmentId"], truth, wanted, iso(now))
    async with site.client(tenant, Role.VIEWER) as client:
        assert (await client.get(f"{ROOT}/segments/{answer['segmentId']}/members")).status_code == 403
        refused = await client.post(f"{ROOT}/segment-users", json={"segmentName": "x", "criteria": {}})
        assert refused.status_code == 403


@pytest.mark.parametrize("age", [0, 20])
async def test_members_of_a_pattern_are_whom_its_newest_news_name(site: Site, events: list[Event], age: int) -> None:
    """Also those who never bought or signed up."""
    truth = Truth(events, int((NOW - age * DAY) * 1000))
    found = {name: sorted(u for u, own in truth.segments.items() if own == name) for name in PATTERN_IDS}
    largest = sorted(found, key=lambda name: -len(found[name]))[:3]
    assert all(len(found[name]) > 1 for name in largest), "a test over nobody proves nothing"
    for name in largest:
        await check_members(site, TENANT, name, truth, found[name], iso(truth.end / 1000))


async def test_a_definition_lives_through_naming_deleting_and_coming_back(
    site: Site, insert: Insert, tenant: str
) -> None:
    """Each change is one event; the list follows the newest; ids come from the criteria."""
    insert(tenant, [purchase("u1", 5), purchase("u2", 50)])
    first = await define(site, tenant, {"ltv": {"min": 10.0}}, "Rich")
    again = await define(site, tenant, {"ltv": {"min": 10}}, "Rich")
    assert first["segmentId"] == again["segmentId"] and first["changed"] and again["changed"]
    assert len({event["event_id"] for _, event in site.published}) == 1, "asked for twice, it is one event"
    site.published.pop()
    told(site, insert, tenant)
    assert not (await define(site, tenant, {"ltv": {"min": 10}}, "Rich"))["changed"] and site.published == []
    assert await names(site, tenant) == {first["segmentId"]: ("Rich", 1)}
    site.clock.advance(5)
    assert (await define(site, tenant, {"ltv": {"min": 10}}, "Wealthy"))["changed"]
    told(site, insert, tenant)
    assert await names(site, tenant) == {first["segmentId"]: ("Wealthy", 1)}
    for name in ("Wealthy", "Rich", "Wealthy"):
        site.clock.advance(5)
        async with site.client(tenant) as client:
            gone = await client.delete(f"{ROOT}/segments/{first['segmentId']}")
            assert gone.status_code == 200
            told(site, insert, tenant)
            assert await names(site, tenant) == {}
            assert (await client.delete(f"{ROOT}/segments/{first['segmentId']}")).status_code == 404
            assert (await client.get(f"{ROOT}/segments/{first['segmentId']}")).status_code == 404
        site.clock.advance(5)
        await define(site, tenant, {"ltv": {"min": 10}}, name)
        told(site, insert, tenant)
        assert await names(site, tenant) == {first["segmentId"]: (name, 1)}
    other = await define(site, tenant, {"ltv": {"min": 11}}, "Rich")
    assert other["segmentId"] != first["segmentId"]
    stranger = await define(site, "somebody-else", {"ltv": {"min": 10}})
    assert stranger["segmentId"] != first["segmentId"] and stranger["userCount"] == 0


async def names(site: Site, tenant: str) -> dict[str, tuple[str, int]]:
    answer = await get(site, tenant, "/segments")
    return {one["id"]: (one["name"], one["users"]) for one in answer["segments"] if one["kind"] == "custom"}


async def test_nothing_stored_is_null_and_no_error(site: Site, tenant: str) -> None:
    answer = await get(site, tenant, "/segments")
    assert answer["total_users"] == 0 and len(answer["segments"]) == 8
    for one in answer["segments"]:
        assert one["users"] == one["clicks"] == 0 and one["last_updated"] is None
        assert all(one[name] is None for name in ("share", "avg_spend", "avg_ltv", "ctr", "conversion_rate"))
    clusters = (await get(site, tenant, "/segments/rfm"))["clusters"]
    assert all(one["users"] == 0 and one["avg_spend"] is None for one in clusters)
    assert (await define(site, tenant, {"orders": {"min": 1}}))["avgLtv"] is None
    empty = await get(site, tenant, "/segments/INACTIVE/members")
    assert empty["members"] == [] and empty["users"] == 0
    await get(site, tenant, "/segments", end="1900-01-01")


@pytest.mark.parametrize(
    ("criteria", "field", "allowed"),
    [
        ({"engagementScore": {"min": 1}}, "criteria.engagementScore", "ltv"),
        ({"genotype": ["AA"]}, "criteria.genotype", "acquisitionChannel"),
        ({}, "criteria", "ltv"),
        ({"ltv": {}}, "criteria.ltv", None),
        ({"ltv": {"min": 5, "max": 4}}, "criteria.ltv", None),
        ({"ltv": {"least": 5}}, "criteria.ltv.least", "min"),
        ({"ltv": {"min": -1}}, "criteria.ltv.min", None),
        ({"ltv": {"min": "1e400"}}, "criteria.ltv.min", None),
        ({"ltv": [1]}, "criteria.ltv", None),
        ({"segment": ["RICH"]}, "criteria.segment", "HIGH_SPENDER"),
        ({"segment": []}, "criteria.segment", None),
        ({"segment": "INACTIVE"}, "criteria.segment", None),
        ({"rfmCluster": ["best"]}, "criteria.rfmCluster", "champions"),
        ({"acquisitionChannel": ["x" * 201]}, "criteria.acquisitionChannel.0", None),
        ({"acquisitionChannel": [str(n) for n in range(21)]}, "criteria.acquisitionChannel", None),
    ],
    ids=str,
)
async def test_bad_criteria_are_refused_by_name(
    site: Site, tenant: str, criteria: Any, field: str, allowed: str | None
) -> None:
    async with site.client(tenant) as client:
        answer = await client.post(f"{ROOT}/segment-users", json={"segmentName": "x", "criteria": criteria})
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert (allowed in error["allowed"]) if allowed else ("allowed" not in error)
    assert site.published == []


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/segments", {"start": "-1d"}),
        ("/segments", {"end": "soon"}),
        ("/segments/INACTIVE/members", {"limit": "1001"}),
        ("/segments/INACTIVE/members", {"format": "xml"}),
        ("/segments/rfm", {"start": "-1d", "end": "-2d"}),
    ],
)
async def test_bad_parameters_are_refused(site: Site, tenant: str, path: str, params: dict[str, str]) -> None:
    async with site.client(tenant) as client:
        answer = await client.get(ROOT + path, params=params)
        assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == next(iter(params))
        unknown = await client.get(f"{ROOT}/segments/RICH")
        assert unknown.status_code == 404 and "HIGH_SPENDER" in unknown.json()["errors"][0]["allowed"]


async def test_a_value_is_data_and_never_sql(site: Site, insert: Insert, tenant: str) -> None:
    nasty = "x') OR 1=1 --"
    insert(tenant, [purchase("u1", 5), purchase('=u2,"x"', 5)])
    answer = await define(site, tenant, {"acquisitionChannel": [nasty, "{p0:String}", "a\\"]}, nasty)
    assert answer["userCount"] == 0
    told(site, insert, tenant)
    assert (await names(site, tenant))[answer["segmentId"]] == (nasty, 0)


async def test_what_is_no_definition_is_left_out_and_too_many_are_refused(
    site: Site, insert: Insert, tenant: str
) -> None:
    """Anybody with a write key can send such an event; the list stands it."""

    def sent(number: int, criteria: Any) -> Event:
        segment_id = str(uuid.UUID(int=number, version=4))
        about = {"segment_id": segment_id, "segment_name": f"n{number}", "criteria": criteria}
        return {**purchase("p", number), "event_type": "segment_defined", "properties": about}

    insert(tenant, [sent(0, {"nonsense": 1}), *(sent(n, {"orders": {"min": n}}) for n in range(1, 60))])
    found = await names(site, tenant)
    assert len(found) == 50 and "n0" not in {name for name, _ in found.values()}
    async with site.client(tenant) as client:
        answer = await client.post(
            f"{ROOT}/segment-users", json={"segmentName": "x", "criteria": {"orders": {"min": 1000}}}
        )
    assert answer.status_code == 422 and "50 custom segments" in answer.json()["detail"] and site.published == []
