"""Dead letters through the API: a tenant sees, previews and replays its own, by role, bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI

from api.app import create_app
from api.context import DeadLetterOrder
from api.reader import ClickHouseReader
from api.settings import ApiSettings
from deploy.dead_letters.desk import Desk
from deploy.dead_letters.office import Office, Rules
from deploy.dead_letters.store import LetterStore
from ingest.settings import GatewaySettings
from schemas.clock import ManualClock
from schemas.keys import KeyStore, Kind, Role
from schemas.taxonomy import Pack, validator
from schemas.wire import encode_lines
from sinks.warehouse import Warehouse
from tests.api.conftest import Site
from tests.deploy_dead_letters.conftest import NOW, MiniPipeline, letter, purchase

LETTERS = "/api/v1/analytics/dead-letters"
NAME_USER = [{"default": {"user_id": "anonymous"}}]


@pytest.fixture
def door(store: Warehouse, packs: dict[str, Pack]) -> MiniPipeline:
    return MiniPipeline(store, {name: validator(pack) for name, pack in packs.items()})


@pytest.fixture
def desk(
    site: Site,
    settings: ApiSettings,
    reader: ClickHouseReader,
    store: Warehouse,
    packs: dict[str, Pack],
    door: MiniPipeline,
) -> Site:
    """A site whose dead letters can be replayed."""
    clock = ManualClock(NOW)
    office = Office(
        LetterStore(store), Rules(door.rules, lambda tenant: "marketing", GatewaySettings()), clock, lambda: door, "ops"
    )
    keys = KeyStore(site.keys, clock)
    app: FastAPI = create_app(
        settings,
        reader=reader,
        keys=keys,
        publish=site.publish,
        packs=packs,
        clock=clock,
        dead_letters=Desk(office),
    )
    return Site(app, site.keys, clock)


def put(store: Warehouse, tenant: str) -> None:
    """Two that lack their user, and one of an unknown source."""
    letters = [
        letter(purchase(1, user_id=...), tenant=tenant, index=0),
        letter(purchase(2, user_id=...), tenant=tenant, index=1, received_at=NOW - 20),
        letter(purchase(3, source="nobody"), "invalid_source", 2, tenant=tenant, field="source", message="is none"),
    ]
    store.insert_lines("rejected_events", encode_lines(letters))


async def test_the_list_counts_groups_and_shows_a_page(desk: Site, store: Warehouse, tenant: str) -> None:
    put(store, tenant)
    put(store, tenant + "-other")
    async with desk.client(tenant, role=Role.VIEWER) as client:
        found = (await client.get(LETTERS, params={"limit": 2})).json()
        only = (await client.get(LETTERS, params={"reason": "invalid_source,too_old", "text": "NONE"})).json()
        since = (await client.get(LETTERS, params={"start": "-25s"})).json()
    assert (found["total"], found["by_reason"]) == (3, {"invalid_source": 1, "missing_field": 2})
    assert found["by_state"] == {"waiting": 3, "refused_again": 0, "replayed": 0, "already_stored": 0}
    assert found["groups"][0] | {"first_at": "", "last_at": ""} == {
        "reason": "missing_field",
        "field": "user_id",
        "event_type": "user_purchased",
        "count": 2,
        "open": 2,
        "keys": 1,
        "first_at": "",
        "last_at": "",
        "example": {"id": "7-1", "message": "is missing or null; send a value"},
    }
    assert [one["id"] for one in found["dead_letters"]] == ["7-1", "7-2"]
    assert "original" not in found["dead_letters"][0]
    assert [one["id"] for one in only["dead_letters"]] == ["7-2"]
    assert [one["id"] for one in since["dead_letters"]] == ["7-1"]


async def test_a_replay_is_previewed_done_once_and_audited(
    desk: Site, store: Warehouse, tenant: str, door: MiniPipeline
) -> None:
    put(store, tenant)
    async with desk.client(tenant, role=Role.ANALYST) as client:
        order = {"select": {"reason": ["missing_field"]}, "patch": NAME_USER}
        preview = (await client.post(f"{LETTERS}/preview", json=order)).json()
        assert (preview["examined"], preview["would_be_accepted"], preview["changed_by_patch"]) == (2, 2, 2)
        assert preview["letters"][0]["changes"] == [{"path": "user_id", "before": "", "after": '"anonymous"'}]
        assert door.calls == []
        first = (await client.post(f"{LETTERS}/replay", json={**order, "limit": 1, "by": "ada"})).json()
        assert (first["accepted"], first["remaining"]) == (1, 1)
        second = (await client.post(f"{LETTERS}/replay", json=order)).json()
        third = (await client.post(f"{LETTERS}/replay", json=order)).json()
        shown = (await client.get(f"{LETTERS}/7-0")).json()
    assert (second["accepted"], second["remaining"]) == (1, 0)
    assert (third["accepted"], third["skipped"], third["audit"]) == (0, 2, "")
    assert door.published[0][1]["properties"]["replayed_by"] == "ada"
    assert [event["event_id"] for _, event in door.published] == [first["audit"], second["audit"]]
    assert json.loads(shown["original"])["event_id"] == "evt-1"
    assert (shown["state"], shown["last_try"]["actor"]) == ("replayed", "ada")
    assert not shown["verdict"]["accepted"], "without the patch it still would not pass"


async def test_another_tenant_sees_and_changes_nothing(desk: Site, store: Warehouse, tenant: str) -> None:
    put(store, tenant)
    async with desk.client(tenant + "-stranger") as client:
        assert (await client.get(LETTERS)).json()["total"] == 0
        assert (await client.get(f"{LETTERS}/7-0")).status_code == 404
        assert (await client.post(f"{LETTERS}/replay", json={"patch": NAME_USER})).json()["remaining"] == 0


@pytest.mark.parametrize(("role", "kind", "status"), [(Role.VIEWER, Kind.SECRET, 403), (Role.VIEWER, Kind.WRITE, 403)])
async def test_originals_and_replays_need_a_role(desk: Site, tenant: str, role: Role, kind: Kind, status: int) -> None:
    async with desk.client(tenant, role=role, kind=kind) as client:
        assert (await client.get(f"{LETTERS}/7-0")).status_code == status
        for action in ("preview", "replay"):
            assert (await client.post(f"{LETTERS}/{action}", json={})).status_code == status


@pytest.mark.parametrize(
    ("action", "body", "named"),
    [
        ("replay", {"patch": [{"sett": {}}]}, "sett"),
        ("replay", {"patch": [{"set": {"event_id": "x"}}]}, "event_id"),
        ("preview", {"select": {"reason": ["no_reason"]}}, "reason"),
        ("preview", {"select": {"id": ["7"]}}, "id"),
        ("replay", {"limit": 1_000_000}, "limit"),
        ("replay", {"selection": {}}, "selection"),
    ],
)
async def test_a_mistake_is_refused_and_named(
    desk: Site, tenant: str, action: str, body: dict[str, Any], named: str
) -> None:
    async with desk.client(tenant) as client:
        answer = await client.post(f"{LETTERS}/{action}", json=body)
    assert answer.status_code == 422
    assert named in answer.text


async def test_without_kafka_the_api_says_what_to_use(site: Site, tenant: str) -> None:
    async with site.client(tenant) as client:
        answer = await client.post(f"{LETTERS}/replay", json={})
    assert answer.status_code == 503
    assert "headrace dead-letters" in answer.json()["detail"]


async def test_every_route_is_in_the_openapi_document(desk: Site) -> None:
    paths = desk.app.openapi()["paths"]
    assert {path for path in paths if "dead-letters" in path} == {
        LETTERS,
        f"{LETTERS}/{{letter_id}}",
        f"{LETTERS}/preview",
        f"{LETTERS}/replay",
    }
    assert DeadLetterOrder.__doc__
