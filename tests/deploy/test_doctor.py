"""What the doctor finds, and that every fault comes with what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from deploy import doctor
from deploy.doctor import Finding, Level, examine
from deploy.embedded.process import ServerHandle, free_port
from deploy.kafka_admin import create_topics
from deploy.migrations import migrate_tables
from deploy.settings import Settings, load
from schemas.clock import SystemClock
from schemas.keys import Kind, Role, create_key
from schemas.topics import topics
from sinks.warehouse import Warehouse
from tests.kafka_servers import KafkaServer


def settings_for(tmp_path: Path, **changes: object) -> Settings:
    given: dict[str, object] = {
        "data_dir": tmp_path,
        "kafka.bootstrap": f"127.0.0.1:{free_port()}",
        "warehouse.url": f"http://127.0.0.1:{free_port()}",
        "collector.port": free_port(),
        "serve.port": free_port(),
    }
    return load({}, overrides={**given, **{name.replace("__", "."): value for name, value in changes.items()}})


def findings(settings: Settings) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(settings, SystemClock())}


def test_servers_that_are_away_are_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings(settings_for(tmp_path))
    for name in ("warehouse", "kafka"):
        assert found[name].level is Level.FAIL
        assert "headrace up" in found[name].text
    assert found["keys"].level is Level.WARN
    assert "headrace keys create --kind write" in found["keys"].text
    assert found["python"].level is found["packages"].level is Level.OK
    assert found["collector"] == Finding(Level.OK, "collector", found["collector"].text)


@pytest.mark.integration
@pytest.mark.xdist_group("door")
def test_everything_is_well_after_migrating(tmp_path: Path, door: ServerHandle, kafka: KafkaServer) -> None:
    url = f"{door.url}/{kafka.kind}"
    Warehouse(url).create_database()
    settings = settings_for(tmp_path, kafka__bootstrap=kafka.url, warehouse__url=url)
    before = findings(settings)
    assert before["tables"].level is before["topics"].level is Level.FAIL
    assert "headrace migrate" in before["tables"].text and "headrace migrate" in before["topics"].text
    migrate_tables(settings, SystemClock())
    create_topics(kafka.url, topics(settings.kafka.partitions), replication=kafka.replication)
    create_key(settings.keys_path, SystemClock(), kind=Kind.WRITE, tenant="a", pack="marketing")
    create_key(settings.keys_path, SystemClock(), kind=Kind.SECRET, tenant="a", pack="marketing", role=Role.VIEWER)
    after = findings(settings)
    assert [f for f in after.values() if f.level is Level.FAIL] == []
    assert {"tables", "topics", "clock", "lag events", "lag watch", "keys"} <= set(after)


def test_a_port_that_somebody_else_has_is_a_failure(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        found = findings(settings_for(tmp_path, collector__port=other.getsockname()[1]))
    assert found["collector"].level is Level.FAIL
    assert "HEADRACE_COLLECTOR_PORT" in found["collector"].text


def test_development_keys_on_a_network_are_a_failure(tmp_path: Path) -> None:
    found = findings(settings_for(tmp_path, dev_keys=True, serve__host="0.0.0.0"))
    assert found["keys"].level is Level.FAIL


def test_a_check_that_fails_itself_is_a_finding(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    settings.keys_path.write_text("not json")
    assert findings(settings)["keys"].level is Level.FAIL


def test_another_version_of_a_pinned_package_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "9.9.9")
    found = list(doctor.check_python(load({}), SystemClock()))
    assert any(finding.level is Level.FAIL and "faust-streaming is 9.9.9" in finding.text for finding in found)


@pytest.mark.parametrize(("free", "level"), [(10 << 30, Level.OK), (2 << 30, Level.WARN), (1 << 20, Level.FAIL)])
def test_a_full_disk_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    usage = type("usage", (), {"free": free})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    (finding,) = doctor.check_disk(settings_for(tmp_path / "not" / "there"), SystemClock())
    assert finding.level is level
