"""Over real processes: what is rejected comes back by one command, balances, and a flood stops the worker."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded import broker, warehouse
from deploy.embedded.process import free_port
from deploy.migrations import create_all_topics, migrate_tables
from deploy.settings import Settings, load, to_environment
from schemas.clock import SystemClock
from schemas.keys import DEV_WRITE_KEY
from schemas.topics import EVENTS
from sinks.warehouse import Warehouse
from stream_processors.faust_app import EXIT_FLOOD
from stream_processors.ports import Record
from tests.e2e.doors import eventually
from tests.e2e.events import clicked
from tests.integration.servers import WorkerProcess, produce, wait_until_read
from tests.support.processes import HeadraceProcess

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("dead")]

PATCH = {"patch": [{"rename": {"userId": "user_id"}}]}


class World:
    """Broker, warehouse, collector and one worker, and the command line."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.warehouse = Warehouse(settings.warehouse)
        self.collector = HeadraceProcess(("collect",), to_environment(settings), folder / "collector.log")
        self.worker = WorkerProcess(settings, folder)

    def post(self, *events: Any) -> dict[str, Any]:
        """What the collector answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.collector.port, timeout=30)
        headers = {"Authorization": f"Bearer {DEV_WRITE_KEY}", "Content-Type": "application/json"}
        connection.request("POST", "/api/analytics/events", json.dumps(events), headers)
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def command(self, *words: str) -> tuple[int, Any]:
        """Exit status and the JSON of `headrace dead-letters WORDS --json`."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", "dead-letters", *words, "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**ours, **to_environment(self.settings)},
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def settle(self) -> None:
        """Wait until everything is read, and the collector's counts have come."""
        eventually(self.unbalanced, lambda found: found == [])
        wait_until_read(self.settings, [self.worker])

    def unbalanced(self) -> list[Any]:
        """Minutes that do not balance."""
        return self.warehouse.query(
            """SELECT tenant, minute, received, accepted, rejected, duplicate, dead, stored FROM (
                SELECT tenant, minute, sumIf(n, stage = 'received') AS received,
                    sumIf(n, stage = 'accepted') AS accepted, sumIf(n, stage = 'rejected') AS rejected,
                    sumIf(n, stage = 'duplicate') AS duplicate,
                    sumIf(n, stage = 'dead_letter') AS dead FROM ledger FINAL GROUP BY tenant, minute) AS l
            FULL JOIN (SELECT tenant, toStartOfMinute(received_at) AS minute, count() AS stored FROM events FINAL
                GROUP BY tenant, minute) AS e USING (tenant, minute)
            WHERE received != accepted + rejected OR accepted != stored + duplicate + dead"""
        )

    def rows(self, table: str) -> list[Any]:
        """All rows, but for when they were inserted."""
        without = "EXCEPT (inserted_at)" if table == "events" else ""
        return self.warehouse.query(f"SELECT * {without} FROM {table} FINAL ORDER BY ALL")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    kafka = broker.start_process(free_port(), log_path=tmp_path / "broker.log")
    house = warehouse.start_process(tmp_path / "warehouse")
    settings = load(
        {
            "HEADRACE_DATA_DIR": str(tmp_path / "data"),
            "HEADRACE_DEV_KEYS": "true",
            "HEADRACE_KAFKA_BOOTSTRAP": kafka.url,
            "HEADRACE_KAFKA_SESSION_TIMEOUT": "3",
            "HEADRACE_WAREHOUSE_URL": house.url,
            "HEADRACE_COLLECTOR_PORT": str(free_port()),
            "HEADRACE_WORKER_FLOOD_ROW": "50",
        }
    )
    clock = SystemClock()
    create_all_topics(settings, clock)
    migrate_tables(settings, clock)
    running = World(settings, tmp_path)
    running.collector.start()
    running.worker.start()
    try:
        yield running
    finally:
        for part in (running.collector, running.worker):
            if part.alive:
                part.kill()
        kafka.stop()
        house.stop()


def named(event_id: str) -> dict[str, Any]:
    """A good event with this id."""
    return {**clicked(), "event_id": event_id}


def misnamed(number: int) -> dict[str, Any]:
    """An event whose sender writes `userId`."""
    event = named(f"event-{number}")
    return {**{name: value for name, value in event.items() if name != "user_id"}, "userId": f"user-{number}"}


def test_what_was_rejected_comes_back_once_and_every_minute_balances(world: World) -> None:
    eventually(lambda: _answers(world), bool)
    answer = world.post(named("good-1"), *(misnamed(n) for n in range(3)), [1])
    assert (answer["accepted"], len(answer["rejected"])) == (1, 4)
    eventually(lambda: len(world.rows("rejected_events")), lambda n: n == 4)
    world.settle()

    _, groups = world.command("list", "--tenant", "demo")
    assert sorted((one["reason"], one["count"]) for one in groups) == [("missing_field", 3), ("not_an_object", 1)]
    patch = world.folder / "patch.yaml"
    patch.write_text(json.dumps(PATCH), encoding="utf-8")
    asked = ("--tenant", "demo", "--patch", str(patch))
    before = [world.rows(table) for table in ("events", "ledger", "dead_letter_state")]
    _, preview = world.command("preview", *asked)
    assert (preview["would_be_accepted"], preview["would_be_rejected"]) == (3, 1)
    assert [world.rows(table) for table in ("events", "ledger", "dead_letter_state")] == before

    status, done = world.command("replay", *asked, "--by", "ada")
    report = done["tenants"]["demo"]
    assert (status, report["accepted"], report["still_rejected"]) == (3, 3, 1)
    ids = "SELECT event_id FROM events FINAL WHERE event_type != 'dead_letters_replayed' ORDER BY event_id"
    wanted = ["event-0", "event-1", "event-2", "good-1"]
    eventually(lambda: [row["event_id"] for row in world.warehouse.query(ids)], lambda found: found == wanted)
    audit = "SELECT JSONExtractString(properties, 'replayed_by') AS who FROM events FINAL WHERE event_id = "
    eventually(
        lambda: world.warehouse.query(f"{audit}'{done['audit']['demo']}'"), lambda rows: rows == [{"who": "ada"}]
    )
    world.settle()

    tables = ("events", "ledger", "dead_letter_state", "rejected_events")
    after = [world.rows(table) for table in tables]
    for more in ((), ("--again",)):
        _, again = world.command("replay", *asked, *more)
        assert (again["tenants"]["demo"]["accepted"], again["audit"]) == (0, {})
    wait_until_read(world.settings, [world.worker])
    assert [world.rows(table) for table in tables] == after


def test_a_flood_stops_the_worker_until_somebody_decides(world: World) -> None:
    eventually(lambda: _answers(world), bool)
    assert world.post(named("before"))["accepted"] == 1
    world.settle()
    produce(world.settings.kafka.bootstrap, EVENTS, [Record(n % 4, 0, b"garbage %d" % n, {}) for n in range(400)])
    assert world.worker.wait(60) == EXIT_FLOOD
    drained = len(world.rows("rejected_events"))
    assert drained < 400
    status, [flood] = world.command("flood")
    assert (status, flood["state"], flood["topic"]) == (3, "open", EVENTS)

    world.worker.start()
    eventually(lambda: "waiting at a flood" in world.worker.log.read_text(encoding="utf-8"), bool)
    assert world.post(named("during"))["accepted"] == 1
    assert len(world.rows("rejected_events")) == drained

    status, [flood] = world.command("flood", "--accept", "--by", "ada")
    assert (status, flood["state"], flood["actor"]) == (0, "accepted", "ada")
    eventually(lambda: len(world.rows("rejected_events")), lambda n: n == 400)
    world.settle()
    assert [row["event_id"] for row in world.rows("events")] == ["before", "during"]
    world.worker.check()


def _answers(world: World) -> bool:
    world.collector.check()
    connection = http.client.HTTPConnection("127.0.0.1", world.settings.collector.port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
