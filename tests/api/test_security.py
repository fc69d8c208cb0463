"""Keys, tenants, injection, and what the reader may do to ClickHouse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute

from api.reader import ClickHouseReader, QueryFailed
from api.routing import ROOT, all_routers
from schemas.keys import Kind, Role
from sinks.warehouse import Warehouse
from tests.api import rows
from tests.api.conftest import Site
from tests.api.world import NOW, World

OPEN = {"/health/live", "/health/ready", "/metrics"}
DICTIONARY = {f"{ROOT}/metrics", f"{ROOT}/funnels", f"{ROOT}/funnel/progress"}
"""What is declared, the same for all; and what runs just now, which is nothing."""
PARAMETERS = (
    "start", "end", "campaign_id", "segment", "channel", "event_type", "group_by", "interval", "limit", "state",
    "severity", "metric_id", "type", "model", "riskTier", "minProbability", "window", "compare", "metrics", "funnel",
    "funnelType", "steps", "segment_by", "cohort_by", "retained_by", "months", "startDate", "timezone",
    "comparisonPeriod", "at",
)  # fmt: skip
FORBIDDEN = "needle-of-the-other-tenant"


def routes() -> Iterator[tuple[str, APIRoute]]:
    """Every route that the app serves, with its whole path."""
    for router, prefix in all_routers():
        for route in router.routes:
            assert isinstance(route, APIRoute)
            yield prefix + route.path, route


GUARDED = sorted({(method, path) for path, route in routes() for method in route.methods if path not in OPEN})
SEGMENT = "00000000-0000-4000-8000-000000000007"
VALUES = {
    "metric_id": "events", "alert_id": FORBIDDEN, "user_id": FORBIDDEN, "letter_id": "7-0", "segment_id": SEGMENT,
}  # fmt: skip
WIRED = (f"{ROOT}/dead-letters/", f"{ROOT}/reconcile")
"""What needs Kafka behind the API, which this site lacks, or a file; tests/api/test_dead_letters.py and
test_reconcile.py ask it as a stranger."""


NEEDED = {f"{ROOT}/query": "?metrics=events"}
"""What a route does not answer without."""


BODY = f"{ROOT}/segment-users"
"""What says nothing without a body; tests/api/test_segments.py asks it as a stranger."""


def filled(path: str) -> str:
    return path.format(**VALUES) + NEEDED.get(path, "")


def test_routes_are_enumerated(site: Site) -> None:
    """Nothing is served that the tests below do not know."""
    served = {(m.upper(), path) for path, ways in site.app.openapi()["paths"].items() for m in ways}
    assert served == {*GUARDED, *(("GET", path) for path in OPEN)}
    assert {path for _, path in GUARDED} >= {f"{ROOT}/{name}" for name in ("pipeline", "live", "windows", "alerts")}


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_no_route_answers_without_a_usable_key(site: Site, method: str, path: str) -> None:
    """401 without a key and with a wrong one, 403 with a write key; each says what to do."""
    async with site.client() as nobody:
        answer = await nobody.request(method, filled(path))
        assert answer.status_code == 401 and answer.headers["content-type"] == "application/problem+json"
        assert "Bearer" in answer.headers["www-authenticate"]
        answer = await nobody.request(method, filled(path), headers={"Authorization": "Bearer wrong"})
        assert answer.status_code == 401
    async with site.client("someone", kind=Kind.WRITE) as sender:
        assert (await sender.request(method, filled(path))).status_code == 403


@pytest.fixture(scope="module")
def two_tenants(store: Warehouse, pack: Any) -> tuple[str, str]:
    """Tenant B has a row in every table, all of them with the needle; tenant A has nothing."""
    from tests.api.world import lines

    other = "isolation-b"
    events = World(5).events(60)
    for event in events:
        event["user_id"] = FORBIDDEN
        event["context"] = {"user_segment": "HIGH_SPENDER"}
    events.append({**events[0], "event_id": SEGMENT, "event_type": "segment_defined"})
    criteria = {"ltv": {"min": 0}}
    events[-1]["properties"] = {"segment_id": SEGMENT, "segment_name": FORBIDDEN, "criteria": criteria}
    store.insert_lines("events", lines(events, pack, other))
    rows.put(
        store, "ledger", rows.ledger(other, "received", 12345), rows.ledger(other, "rejected", 7, reason=FORBIDDEN)
    )
    rows.put(store, "rejected_events", rows.rejected(other, FORBIDDEN))
    rows.put(store, "conflicts", rows.conflict(other, FORBIDDEN))
    rows.put(store, "alerts", rows.alert(other, FORBIDDEN))
    rows.put(store, "anomalies", rows.anomaly(other, FORBIDDEN))
    rows.put(store, "predictions", rows.prediction(other, FORBIDDEN, 0.9, "critical"))
    rows.put(store, "rounds", rows.churn_round(other))
    rows.put(store, "user_state", rows.user_state(other, FORBIDDEN, 10**9))
    rows.put(store, "windows", rows.window(other, NOW, FORBIDDEN, 99))
    rows.put(store, "corrections", rows.correction(other, FORBIDDEN))
    rows.put(store, "evaluations", {**rows.evaluation(other, "auc", 0.5), "model": FORBIDDEN})
    return "isolation-a", other


ASKED = ("lookback_days", "half_life_days", "max_touches", "from", "below")
"""What attribution repeats of the question, and where bars begin and end."""


def numbers(value: Any) -> list[float]:
    """Every count in an answer."""
    if isinstance(value, dict):
        skip = (
            *("completeness", "confidence", "limit", "label_delay_days", "healthy", "target", "window", "definition"),
            *("declared", "hour", "hours", "dau", "stepNumber", "window_hours", *ASKED),
        )
        return [n for key, inner in value.items() if key not in skip for n in numbers(inner)]
    if isinstance(value, list):
        return [n for inner in value for n in numbers(inner)]
    return [float(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


@pytest.mark.parametrize(
    ("method", "path"),
    [pair for pair in GUARDED if not pair[1].endswith("/live") and not pair[1].startswith((*WIRED, BODY))],
)
async def test_a_key_of_one_tenant_never_sees_another(
    site: Site, two_tenants: tuple[str, str], method: str, path: str
) -> None:
    """For A every list is empty, every number 0, every id of B unknown; B itself does see something."""
    mine, other = two_tenants
    async with site.client(mine) as client:
        answer = await client.request(method, filled(path))
        assert answer.status_code in (200, 404)
        assert FORBIDDEN not in answer.text or answer.status_code == 404
        if answer.status_code == 200 and path not in DICTIONARY:
            assert not any(numbers(answer.json())), answer.text
        assert site.published == []
    async with site.client(other) as client:
        answer = await client.request(method, filled(path))
        assert answer.status_code == 200
        assert path in DICTIONARY or any(numbers(answer.json())) or FORBIDDEN in answer.text


async def test_live_stream_shows_only_its_own_tenant(site: Site, two_tenants: tuple[str, str]) -> None:
    mine, _ = two_tenants
    from tests.api.test_live import stream

    async with stream(site, mine) as events:
        seen = [await events.wait("pipeline"), await events.wait("alerts"), await events.wait("anomalies")]
        metric = await events.wait("metric", lambda one: one["metric"] == "events")
    assert FORBIDDEN not in json.dumps(seen) and metric["value"] == 0


INJECTIONS = [
    "' OR 1=1 --",
    "x') UNION ALL SELECT 1 --",
    "{p0:String}",
    "\\' OR ''='",
    "a\x00b",
    "%' ; DROP TABLE events",
    "\n\t\\N",
]


@pytest.mark.parametrize("text", INJECTIONS)
async def test_text_in_any_parameter_stays_text(
    site: Site, tenant: str, insert: Callable[[str, list[Any]], None], text: str
) -> None:
    """In every place that takes text: a clear refusal, or an answer over nothing; never more data, never a fault."""
    insert(tenant, World(8).events(40))
    async with site.client(tenant) as client:
        for path, route in routes():
            if path in OPEN or path.endswith("/live") or "GET" not in route.methods:
                continue
            if "{" in path:
                named = path.format(**{name: quote(text, safe="") for name in VALUES})
                assert (await client.get(named)).status_code == 404
            for name in () if path.startswith(WIRED) else PARAMETERS:
                answer = await client.get(filled(path), params={name: text})
                assert answer.status_code in (200, 404, 422), (path, name, answer.text)
                if answer.status_code == 200:
                    assert not any(numbers(answer.json())), (path, name)
        stored = (await client.get(f"{ROOT}/metrics/events", params={"start": "-30d"})).json()
        assert stored["value"] == 40


@pytest.mark.parametrize("text", INJECTIONS)
async def test_a_value_with_odd_text_is_found_by_exactly_that_text(
    site: Site, tenant: str, store: Warehouse, text: str
) -> None:
    """Binding neither loses nor changes anything: the filter finds the row that has this very text, and no other."""
    if "\x00" in text:
        return
    line = {"tenant": tenant, "event_type": "user_engaged", "timestamp": NOW - 60, "received_at": NOW, "user_id": "u",
            "slot": 1, "chunk": 1, "properties": {}, "context": {}}  # fmt: skip
    store.insert_lines("events", json.dumps({**line, "event_id": "1", "segment": text}).encode())
    store.insert_lines("events", json.dumps({**line, "event_id": "2", "segment": text + "x"}).encode())
    async with site.client(tenant) as client:
        answer = (await client.get(f"{ROOT}/metrics/events", params={"segment": text, "group_by": "segment"})).json()
    assert answer["value"] == 1 and [one["group"] for one in answer["groups"]] == [text]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "INSERT INTO events (tenant) VALUES ('x')",
        "DROP TABLE events",
        "ALTER TABLE events DELETE WHERE 1",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_execution_time = 1000",
        "SET readonly = 0",
    ],
)
async def test_the_reader_can_only_read(reader: ClickHouseReader, store: Warehouse, sql: str) -> None:
    """`readonly=1` holds for everything that reaches ClickHouse through the API, files and other servers included."""
    before = store.query("SELECT count() AS n FROM events")
    with pytest.raises(QueryFailed):
        await reader.rows(sql, {})
    assert store.query("SELECT count() AS n FROM events") == before


@pytest.mark.parametrize("role", list(Role))
async def test_only_analysts_and_above_change_alerts(site: Site, tenant: str, store: Warehouse, role: Role) -> None:
    rows.put(store, "alerts", rows.alert(tenant, f"a-{role}"))
    async with site.client(tenant, role) as client:
        answer = await client.post(f"{ROOT}/alerts/a-{role}/acknowledge")
        assert answer.status_code == (403 if role is Role.VIEWER else 200)
        assert (await client.get(f"{ROOT}/alerts")).status_code == 200
    assert len(site.published) == (0 if role is Role.VIEWER else 1)
