"""A collector fails, and its operators hear of it: real collector, watcher, Kafka and warehouse as processes."""

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
from deploy.embedded.process import ServerHandle, free_port, spawn, tail
from deploy.migrations import create_all_topics, migrate_tables
from deploy.settings import Settings, changed, load, to_environment
from schemas.clock import SystemClock
from schemas.keys import DEV_WRITE_KEY
from sinks.warehouse import Warehouse
from tests.e2e.doors import eventually
from tests.e2e.events import clicked

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("door")]

ROOT = Path(__file__).parents[2]
RULES = """
rules:
  collector_errors:
    title: "The collector fails {value:.1f} % of the requests"
    description: Senders hear 5xx.
    severity: critical
    signal: collector_error_rate_percent
    window: 6s
    comparison: above
    threshold: 10
    min_count: 5
    raise_after: 1s
    min_open: 0s
    clear: {threshold: 5, after: 1s}
    runbook: Look at Kafka.
  disk_written:
    title: "A disk is {value:.0f} % full"
    description: Some disk holds something.
    severity: info
    signal: disk_used_percent
    window: 1m
    comparison: above
    threshold: 0
    runbook: Be glad.
  workers_behind:
    title: "{value:.0f} events wait"
    description: Nobody takes the events of this installation, which has no worker.
    severity: warning
    signal: consumer_lag_events
    window: 1m
    comparison: above
    threshold: 30
    runbook: Start one.
"""


class Part:
    """`headrace ...` with settings, ended by its id."""

    def __init__(self, settings: Settings, folder: Path, name: str, *words: str) -> None:
        self.log = folder / f"{name}.log"
        ours = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
        command = [sys.executable, "-m", "deploy.cli", *words]
        self.process = spawn(command, self.log, {**ours, **to_environment(settings)})

    def check(self) -> None:
        assert self.process.poll() is None, tail(self.log, 40)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Installation:
    """A watcher over servers of its own, and a collector over another Kafka, which is away at first."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, SystemClock()
        (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
        self.kafka = broker.start_process(log_path=folder / "kafka.log")
        self.house = warehouse.start_process(folder / "warehouse", memory_mb=1024)
        self.collector_port, self.other_kafka = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.collector_port}"
        self.settings = load(
            {
                "HEADRACE_DATA_DIR": str(folder / "data"),
                "HEADRACE_DEV_KEYS": "1",
                "HEADRACE_KAFKA_BOOTSTRAP": self.kafka.url,
                "HEADRACE_KAFKA_SESSION_TIMEOUT": "6",
                "HEADRACE_WAREHOUSE_URL": self.house.url,
                "HEADRACE_COLLECTOR_PORT": str(self.collector_port),
                "HEADRACE_COLLECTOR_GATEWAY_DEADLINE_SECONDS": "10",
                "HEADRACE_WATCHER_COLLECTORS": f"{self.url},http://127.0.0.1:{free_port()}",
                "HEADRACE_WATCHER_INSTALLATION_SECONDS": "0.5",
                "HEADRACE_WATCHER_CHURN_SECONDS": "3600",
                "HEADRACE_WATCHER_RULES_FILE": str(folder / "rules.yaml"),
                "HEADRACE_WATCHER_OPERATOR_TENANT": "ops",
            }
        )
        self.elsewhere = changed(self.settings, {"kafka.bootstrap": f"127.0.0.1:{self.other_kafka}"})
        create_all_topics(self.settings, self.clock)
        migrate_tables(self.settings, self.clock)
        self.warehouse = Warehouse(self.settings.warehouse)
        self.other: ServerHandle | None = None
        self.parts = {
            "collector": Part(self.elsewhere, folder, "collector", "collect"),
            "watcher": Part(self.settings, folder, "watcher", "process", "--role", "watch"),
        }

    def open_other_kafka(self) -> None:
        """From now on the collector can do its work."""
        self.other = broker.start_process(self.other_kafka, log_path=self.folder / "other.log")
        create_all_topics(self.elsewhere, self.clock)

    def send(self, port: int | None = None) -> int:
        """Ten events of one user, that is one chunk; the status."""
        events = [clicked("one-user") for _ in range(10)]
        connection = http.client.HTTPConnection("127.0.0.1", port or self.collector_port, timeout=20)
        headers = {"Authorization": f"Bearer {DEV_WRITE_KEY}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/api/analytics/events", json.dumps(events), headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def alert(self, rule: str) -> dict[str, Any] | None:
        """The only incident of a rule."""
        for part in self.parts.values():
            part.check()
        rows = self.warehouse.query("SELECT * FROM alerts FINAL WHERE rule_id = {rule:String}", {"rule": rule})
        assert len(rows) <= 1
        return rows[0] if rows else None

    def close(self) -> None:
        for part in self.parts.values():
            part.end()
        self.warehouse.close()
        for server in (self.kafka, self.house, self.other):
            if server is not None:
                server.stop()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    running = Installation(tmp_path)
    try:
        yield running
    finally:
        running.close()


def test_a_collector_that_fails_is_told_and_told_again_when_it_recovers(installation: Installation) -> None:
    """And the disk is read, while a collector that does not exist is said once and stops nothing."""

    def fail() -> dict[str, Any] | None:
        assert installation.send() == 503
        return installation.alert("collector_errors")

    eventually(lambda: _listens(installation.collector_port))
    raised = eventually(fail, lambda row: row is not None)
    assert raised is not None
    assert (raised["tenant"], raised["state"], raised["severity"]) == ("ops", "open", "critical")
    evidence = json.loads(raised["evidence"])
    assert evidence["details"]["statuses"].keys() == {"503"} and raised["value"] == 100.0
    assert evidence["details"]["endpoints"][installation.url]["errors"] >= 5
    assert len(evidence["details"]["unreachable"]) == 1

    installation.open_other_kafka()

    eventually(installation.send, lambda status: status == 200)

    def succeed() -> dict[str, Any] | None:
        assert installation.send() == 200
        return installation.alert("collector_errors")

    resolved = eventually(succeed, lambda row: row is not None and row["state"] == "resolved")
    assert resolved is not None
    assert (resolved["alert_id"], resolved["resolved_by"]) == (raised["alert_id"], "system")
    disk = eventually(lambda: installation.alert("disk_written"), lambda row: row is not None)
    assert disk is not None and 0 < disk["value"] < 100
    log = installation.parts["watcher"].log.read_text()
    assert log.count("cannot be read") == 1 and "Traceback" not in log


def _listens(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_events_that_no_worker_takes_are_told_in_events(installation: Installation) -> None:
    """A second collector, on the Kafka that the watcher watches."""
    port = free_port()
    near = changed(installation.settings, {"collector.port": port, "collector.gateway.deadline_seconds": 30.0})
    installation.parts["near"] = Part(near, installation.folder, "near", "collect")
    eventually(lambda: _listens(port))
    for _ in range(4):
        assert installation.send(port) == 200
    row = eventually(lambda: installation.alert("workers_behind"), lambda row: row is not None)
    assert row is not None and row["tenant"] == "ops"
    topics = json.loads(row["evidence"])["details"]["topics"]
    assert (row["value"], topics["headrace.events"]["chunks"]) == (40, 4)
