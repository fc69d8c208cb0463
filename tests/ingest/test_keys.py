"""Who may send: where a key stands in a request, what it opens, and the file that it lives in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingest.gateway import Gateway
from schemas.clock import ManualClock
from schemas.errors import ConfigError
from schemas.keys import Key, KeyRefused, KeyStore, Kind, Role, create_key, digest, load_keys, revoke_key
from tests.ingest.support import Door, FakeKafka, MakeDoor, basic, event


def make_write_key(path: Path, clock: ManualClock, tenant: str = "acme", pack: str = "marketing") -> tuple[Key, str]:
    return create_key(path, clock, kind=Kind.WRITE, tenant=tenant, pack=pack)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer dev-write-key"},
        {"authorization": "bearer  dev-write-key"},
        {"authorization": basic("dev-write-key")},
        {"x-api-key": "dev-write-key"},
    ],
)
async def test_a_key_may_come_in_three_ways(door: Door, headers: dict[str, str]) -> None:
    data = json.dumps(event()).encode()
    answer = await door.request("POST", "/api/analytics/events", headers, [data])
    assert answer.status == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "missing_key"),
        ({"authorization": "Bearer "}, "missing_key"),
        ({"authorization": "Basic !!!"}, "missing_key"),
        ({"authorization": "Digest x"}, "missing_key"),
        ({"authorization": "Bearer wrong"}, "unknown_key"),
        ({"authorization": "Bearer dev-write-key\xff"}, "unknown_key"),
        ({"authorization": "Bearer dev-secret-key"}, "wrong_kind"),
    ],
)
async def test_a_wrong_key_is_401_and_stores_nothing(door: Door, headers: dict[str, str], code: str) -> None:
    data = json.dumps(event()).encode()
    answer = await door.request("POST", "/api/analytics/events", headers, [data])
    assert (answer.status, answer.json["error"]) == (401, code)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert not door.kafka.records


async def test_the_dev_keys_open_nothing_without_the_flag(open_door: MakeDoor, clock: ManualClock) -> None:
    door = open_door(keys=KeyStore(None, clock))
    assert (await door.post(event())).status == 401


async def test_events_land_in_the_tenant_of_the_key_only(
    open_door: MakeDoor, clock: ManualClock, kafka: FakeKafka, tmp_path: Path
) -> None:
    """A good key of another tenant cannot write into ours, whatever its events say."""
    path = tmp_path / "keys.json"
    key, secret = make_write_key(path, clock)
    door = open_door(keys=KeyStore(path, clock, dev_keys=True))
    await door.post(event(event_id="theirs", tenant="demo", slot=3, key_id="x", chunk=9), key=secret)
    await door.post({**event(event_id="bad", source="toaster"), "tenant": "demo"}, key=secret)
    (line,) = kafka.lines()
    assert (line["tenant"], line["key_id"], line["extra"]) == ("acme", key.id, 4)
    assert line["context"]["envelope"]["tenant"] == "demo"
    assert kafka.rejected()[0].tenant == "acme"
    assert {count.tenant for count in kafka.counts()} == {"acme"}


async def test_a_key_of_a_pack_that_is_not_loaded_is_401(
    open_door: MakeDoor, clock: ManualClock, tmp_path: Path
) -> None:
    _, secret = make_write_key(tmp_path / "k", clock, pack="nonesuch")
    door = open_door(keys=KeyStore(tmp_path / "k", clock))
    assert (await door.post(event(), key=secret)).json["error"] == "unknown_pack"


async def test_an_unknown_pack_is_an_error_of_the_caller(clock: ManualClock, kafka: FakeKafka) -> None:
    with pytest.raises(ConfigError, match="nonesuch"):
        await Gateway({}, kafka, clock, 1, 1).submit("t", "nonesuch", "k", [{}])


def test_a_secret_is_never_written(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    key, secret = make_write_key(path, clock)
    assert secret not in path.read_text()
    assert digest(secret) in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert KeyStore(path, clock).find(secret, Kind.WRITE) == key


def test_keys_open_one_door_each(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    _, write = make_write_key(path, clock)
    _, secret = create_key(path, clock, kind=Kind.SECRET, tenant="acme", pack="marketing", role=Role.ANALYST)
    store = KeyStore(path, clock)
    assert store.find(secret, Kind.SECRET).role is Role.ANALYST
    for wrong, kind in ((write, Kind.SECRET), (secret, Kind.WRITE)):
        with pytest.raises(KeyRefused) as refused:
            store.find(wrong, kind)
        assert refused.value.code == "wrong_kind"


def test_a_running_process_notices_new_and_revoked_keys(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    store = KeyStore(path, clock)
    key, secret = make_write_key(path, clock)
    clock.advance(2)
    assert store.find(secret, Kind.WRITE).id == key.id
    assert revoke_key(path, clock, key.id).revoked_at == clock.now()
    clock.advance(2)
    with pytest.raises(KeyRefused) as refused:
        store.find(secret, Kind.WRITE)
    assert refused.value.code == "revoked_key"


def test_a_key_file_that_breaks_while_running_leaves_the_keys_in_force(
    clock: ManualClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.json"
    _, secret = make_write_key(path, clock)
    store = KeyStore(path, clock)
    path.write_text("{")
    clock.advance(2)
    assert store.find(secret, Kind.WRITE)
    assert str(path) in caplog.text


def test_a_broken_key_file_refuses_to_boot_and_names_the_place(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    make_write_key(path, clock)
    document = json.loads(path.read_text())
    for name, value, place in (("kind", "read", "keys.0.kind"), ("tenant", "", "keys.0.tenant"), ("odd", 1, "odd")):
        path.write_text(json.dumps({"keys": [{**document["keys"][0], name: value}]}))
        with pytest.raises(ConfigError, match=place) as refused:
            KeyStore(path, clock)
        assert str(path) in str(refused.value)
    path.write_text(json.dumps({"keys": document["keys"] * 2}))
    with pytest.raises(ConfigError, match="twice"):
        load_keys(path)


def test_roles_stand_on_secret_keys_only(clock: ManualClock, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="role"):
        create_key(tmp_path / "k", clock, kind=Kind.SECRET, tenant="acme", pack="marketing")
    with pytest.raises(ConfigError, match="tenant"):
        create_key(tmp_path / "k", clock, kind=Kind.WRITE, tenant="A B", pack="marketing")
    with pytest.raises(ConfigError, match="hrw-none"):
        revoke_key(tmp_path / "k", clock, "hrw-none")
