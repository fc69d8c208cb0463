"""Segments through the API against plain Python over the raw events: patterns, RFM, custom segments, members."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest

from api.routing import ROOT
from schemas.keys import Role
from schemas.segments import pattern_uuid, shipped_clusters
from schemas.segments.patterns import PATTERN_IDS
from schemas.taxonomy import Pack
from tests.api.ask import get
from tests.api.conftest import Site
from tests.api.world import DAY, NOW, Event, World, lines
from tests.oracle.facts import ACTIVITY_TYPES, OPENS, facts
from tests.oracle.segments import orders, people, rfm, segments, signups

DAY_MS = DAY * 1000
TENANT = "segments"
Insert = Callable[[str, list[Event]], None]


class Truth:
    """What is so as of a moment, from raw events alone."""

    def __init__(self, events: list[Event], end: int) -> None:
        self.end, self.start = end, end - 90 * DAY_MS
        self.facts = [one for one in facts(events) if one.ms < end]
        self.segments = segments(self.facts, end - 1)
        self.people = people(events, end)
        self.users = sorted({*self.people, *self.segments})
        self.orders = orders(events, end)
        self.signups = signups(events, end)
        clusters = shipped_clusters().by_scores()
        self.clusters = {u: clusters[s] for u, s in rfm(events, end - 365 * DAY_MS, end).items()}

    def spent(self, user: str, start: int = -(1 << 60)) -> Fraction:
        return Fraction(sum(o.micros for o in self.orders if o.user_id == user and o.ms >= start), 10**6)

    def active(self, user: str) -> int | None:
        lively = [
            f.ms for f in self.facts
            if f.user_id == user
            and (f.event_type in ACTIVITY_TYPES or (f.event_type == "campaign_viewed" and f.view_type in OPENS))
        ]  # fmt: skip
        return max(lively, default=None)

    def numbers(self, members: set[str]) -> dict[str, Any]:
        recent = [f for f in self.facts if f.ms >= self.start]
        shown = sum(f.event_type == "campaign_delivered" and not f.holdout and f.user_id in members for f in recent)
        clicks = [f.user_id for f in recent if f.event_type == "campaign_clicked" and f.user_id in members]
        first: dict[tuple[str, str], Any] = {}
        for f in self.facts:  # in order of time and id
            if f.event_type == "campaign_converted":
                first.setdefault((f.campaign_id, f.order_id), f)
        converted = {f.user_id for f in first.values() if f.ms >= self.start} & members
        spend, ltv = (sum((self.spent(u, s) for u in members), Fraction()) for s in (self.start, -(1 << 60)))
        n = len(members)
        return {
            "users": n, "share": over(100 * n, len(self.users)), "spend": float(spend), "ltv": float(ltv),
            "avg_spend": over(spend, n), "avg_ltv": over(ltv, n), "impressions": shown, "clicks": len(clicks),
            "ctr": over(100 * len(clicks), shown), "converted_users": len(converted),
            "clicking_users": len(set(clicks)), "conversion_rate": over(100 * len(converted), len(set(clicks))),
        }  # fmt: skip

    def members(self, criteria: dict[str, Any]) -> set[str]:
        return {user for user in self.users if all(self._fits(user, *one) for one in criteria.items())}

    def _fits(self, user: str, name: str, asked: Any) -> bool:
        bought = [o.ms for o in self.orders if o.user_id == user]
        if isinstance(asked, list):
            lists = {
                "segment": self.segments.get(user, ""), "rfmCluster": self.clusters.get(user, ""),
                "acquisitionChannel": self.signups.get(user, (0, "", ""))[2],
            }  # fmt: skip
            return lists[name] in asked
        times = {
            "daysSinceSignup": self.signups[user][0] if user in self.signups else None,
            "daysSinceLastOrder": max(bought, default=None),
            "daysSinceActive": self.active(user),
        }
        value: Fraction | None
        if name in times:
            value = None if times[name] is None else Fraction(self.end - times[name], DAY_MS)  # type: ignore[operator]
        else:
            value = {"ltv": self.spent(user), "orders": Fraction(len(bought))}[name]
        low, high = (Fraction(str(asked.get(end, other))) for end, other in (("min", 0), ("max", 10**12)))
        return value is not None and low <= value <= high


def over(above: Fraction | int, below: int) -> float | None:
    return float(Fraction(above) / below) if below else None


def random_events(seed: int, *, users: int = 40, orders: int = 70, n: int = 900) -> list[Event]:
    world = World(seed, days=420, users=users, orders=orders)
    events = world.events(n)
    for _ in range(60):
        about = world.event()
        about["timestamp"] = iso(NOW - round(world.rng.random() * 50) * DAY - 1)
        kind = world.rng.choice(("user_segmented", "user_segmented", "user_unsegmented"))
        told = {"segment_type": world.rng.choice(PATTERN_IDS)} if kind == "user_segmented" else {}
        more = {} if told else {"previous_segment": world.uuid()}
        about |= {"event_type": kind, "properties": {**told, **more}, "context": {}}
        about["user_id"] = world.rng.choice([*world.users, "only-segmented"])
        events.append(about)
    return events


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


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


def part(answer: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in wanted}


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
    channels: dict[str, int] = {}
    for user in members:
        channel = truth.signups.get(user, (0, "", ""))[2]
        channels[channel] = channels.get(channel, 0) + 1
    assert answer["demographics"]["acquisitionChannels"] == channels
    ((to, event),) = site.published
    assert to == TENANT and event["event_type"] == "segment_defined"
    assert event["properties"]["segment_id"] == answer["segmentId"]


async def test_members_are_listed_page_by_page_as_json_and_csv(site: Site, events: list[Event], insert: Insert) -> None:
    tenant = "paged"
    insert(tenant, events)
    answer = await define(site, tenant, {"orders": {"min": 1}})
    told(site, insert, tenant)
    end = iso(site.clock.now())
    truth = Truth(events, int(site.clock.now() * 1000))
    wanted = sorted(truth.members({"orders": {"min": 1}}))
    found: list[dict[str, Any]] = []
    for offset in range(0, 100, 7):
        page = await get(site, tenant, f"/segments/{answer['segmentId']}/members", end=end, limit=7, offset=offset)
        assert page["users"] == len(wanted)
        found += page["members"]
    assert [one["user_id"] for one in found] == wanted
    for one in found:
        user = one["user_id"]
        assert one["ltv"] == float(truth.spent(user)) and one["segment"] == (truth.segments.get(user) or None)
        assert one["orders"] == sum(o.user_id == user for o in truth.orders)
        assert one["last_order"] == iso(max(o.ms for o in truth.orders if o.user_id == user) // 1000)[:-1] + ".000Z"
        assert (one["signed_up"] is None) == (user not in truth.signups)
    async with site.client(tenant, Role.ANALYST) as client:
        path = f"{ROOT}/segments/{answer['segmentId']}/members"
        written = await client.get(path, params={"format": "csv", "end": end, "limit": 1000})
        assert written.headers["content-type"].startswith("text/csv")
        assert written.headers["x-total-count"] == str(len(wanted))
        read = list(csv.DictReader(io.StringIO(written.text)))
        assert [row["user_id"] for row in read] == wanted
        assert [float(row["ltv"]) for row in read] == [one["ltv"] for one in found]
    async with site.client(tenant, Role.VIEWER) as client:
        assert (await client.get(path)).status_code == 403
        refused = await client.post(f"{ROOT}/segment-users", json={"segmentName": "x", "criteria": {}})
        assert refused.status_code == 403


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


def purchase(user: str, value: float, at: float = NOW - DAY, order: int | None = None) -> Event:
    number = order if order is not None else abs(hash((user, value, at)))
    return {
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{user}{value}{at}{order}")),
        "event_type": "user_purchased", "timestamp": iso(at), "user_id": user, "source": "backend",
        "properties": {"order_id": str(uuid.UUID(int=number, version=4)), "order_value": value}, "context": {},
    }  # fmt: skip


async def test_rfm_equals_the_independent_computation(site: Site, insert: Insert) -> None:
    tenant, made = "rfm", random_events(22, users=60, orders=400, n=1800)
    insert(tenant, made + made[:200])
    by_scores = shipped_clusters().by_scores()
    seen = set()
    for start, end in ((NOW - 365 * DAY, NOW), (NOW - 100 * DAY, NOW - 10 * DAY)):
        answer = await get(site, tenant, "/segments/rfm", start=iso(start), end=iso(end))
        scores = rfm(made, int(start * 1000), int(end * 1000))
        truth = Truth(made, int(end * 1000))
        inside = [o for o in truth.orders if o.ms >= start * 1000]
        assert answer["users"] == len(scores) > 10
        for one in answer["clusters"]:
            users = {u for u, combination in scores.items() if by_scores[combination] == one["id"]}
            bought = [o for o in inside if o.user_id in users]
            age = sum(int(end * 1000) - max(o.ms for o in bought if o.user_id == u) for u in users)
            wanted = {
                "users": len(users), "share": over(100 * len(users), len(scores)), "orders": len(bought),
                "avg_orders": over(len(bought), len(users)), "spend": float(money(bought)),
                "avg_spend": over(money(bought), len(users)),
                "avg_recency_days": over(Fraction(age, DAY_MS), len(users)),
                **{f"avg_{name}": over(sum(scores[u][n] for u in users), len(users)) for n, name in enumerate("rfm")},
            }  # fmt: skip
            assert part(one, wanted) == wanted
            seen |= {one["id"]} if users else set()
    assert len(seen) >= 7, "most clusters must have somebody"


def money(bought: Any) -> Fraction:
    return Fraction(sum(o.micros for o in bought), 10**6)


async def test_equal_users_get_equal_scores(site: Site, insert: Insert, tenant: str) -> None:
    """Ten alike are all in the lowest fifth of what there is; one better one is above them all."""
    insert(tenant, [purchase(f"u{n}", 5, NOW - 2 * DAY) for n in range(10)])
    answer = await get(site, tenant, "/segments/rfm")
    assert [(one["id"], one["users"]) for one in answer["clusters"] if one["users"]] == [("hibernating", 10)]
    insert(tenant, [purchase("best", 9, NOW - DAY), purchase("best", 8, NOW - DAY)])
    answer = await get(site, tenant, "/segments/rfm")
    found = {one["id"]: (one["users"], one["avg_r"]) for one in answer["clusters"] if one["users"]}
    assert found == {"champions": (1, 5.0), "hibernating": (10, 1.0)}


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
