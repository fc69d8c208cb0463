"""What is known about the installation, and that every shipped rule about it can raise and resolve."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from api.telemetry import Telemetry
from ingest.metrics import CollectorMetrics
from schemas.alerting.incident import Kind
from schemas.alerting.readings import Reading
from schemas.alerting.rules import load_rules
from schemas.clock import ManualClock
from schemas.errors import Permanent, Retryable
from stream_processors.alerting.engine import AlertEngine, Transition
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import Disk, Waiting
from stream_processors.settings import WatcherSettings
from stream_processors.watch.installation import Installation, InstallationPorts, used_percent
from tests.support.chdb_warehouse import ChdbWarehouse

NOW = 1_795_000_000.0
GB = 10**9
EVENTS = "/api/analytics/events"
T = TypeVar("T")


class World:
    """Everything that the installation is asked, settable; an `Exception` in a place is raised there."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.lag: Mapping[str, Waiting] | Exception = {}
        self.local: Disk | Exception = Disk("data folder", "/data", 100 * GB, 60 * GB)
        self.rows: list[dict[str, Any]] | Exception = []
        self.floods: list[dict[str, Any]] = []
        self.collector, self.api = CollectorMetrics(), Telemetry(lambda: 0)

    def waiting(self) -> Mapping[str, Waiting]:
        return _or_raise(self.lag)

    def disk(self) -> Disk:
        return _or_raise(self.local)

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        found = _or_raise(self.rows)
        return self.floods if "FROM floods" in sql else found

    def text(self, url: str) -> str:
        self.api.refresh(self.clock.monotonic())
        return {"c": self.collector.text(), "a": self.api.render()}[url.split("/")[2]].decode()

    def installation(self, rules: str | Path | None = None) -> Installation:
        settings = WatcherSettings(collectors="http://c", apis="http://a", operator_tenant="ops")
        ports = InstallationPorts(self, self, self, self, self.clock)  # type: ignore[arg-type]
        return Installation(settings, load_rules(rules) if rules else load_rules(), ports, WorkerMetrics("watch"))


def _or_raise(found: T | Exception) -> T:
    if isinstance(found, Exception):
        raise found
    return found


@pytest.fixture
def world() -> World:
    return World()


def look(installation: Installation) -> dict[str, Reading]:
    """One look of each kind; the readings by signal."""
    for work in installation.background():
        work.run()
    return {reading.signal: reading for reading in installation.readings()}


def test_every_signal_about_the_installation_has_a_reading(world: World) -> None:
    world.lag = {"headrace.events": Waiting(40, 8_000, 12), "headrace.rejected": Waiting(2, 3, 2)}
    found = look(world.installation())
    assert found.keys() == {
        "collector_error_rate_percent",
        "api_error_rate_percent",
        "metric_calculation_seconds",
        "consumer_lag_events",
        "disk_used_percent",
        "open_floods",
    }
    assert {(reading.tenant, reading.subject, reading.at) for reading in found.values()} == {("ops", "", NOW)}
    lag = found["consumer_lag_events"]
    assert (lag.value, lag.window) == (8_003, 60.0)
    assert lag.evidence["topics"]["headrace.events"] == {"chunks": 40, "events": 8_000, "looked_into": 12}


def test_the_fullest_disk_wins(world: World) -> None:
    world.rows = [
        {"name": "default", "path": "/var/lib/clickhouse/", "total_space": 1000, "free_space": 90},
        {"name": "cold", "path": "/cold/", "total_space": 1000, "free_space": 500},
        {"name": "s3", "path": "/s3/", "total_space": 2**64 - 1, "free_space": 2**64 - 1},
        {"name": "cache", "path": "/cache/", "total_space": 0, "free_space": 0},
    ]
    reading = look(world.installation())["disk_used_percent"]
    assert reading.value == pytest.approx(91.0)
    assert (reading.evidence["name"], reading.evidence["path"]) == ("warehouse: default", "/var/lib/clickhouse/")
    assert [disk["name"] for disk in reading.evidence["disks"]] == [
        "data folder",
        "warehouse: default",
        "warehouse: cold",
    ]


@pytest.mark.parametrize("error", [Retryable("away"), Permanent("not enough rights to read system.disks")])
def test_a_warehouse_that_does_not_say_leaves_the_local_disk(
    world: World, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world.rows = error
    installation = world.installation()
    for _ in range(5):
        assert look(installation)["disk_used_percent"].value == pytest.approx(40.0)
    assert sum("the warehouse's disks cannot be read" in message for message in caplog.messages) == 1


def test_the_real_engine_tells_its_disks(world: World) -> None:
    warehouse = ChdbWarehouse()
    world.query = warehouse.query  # type: ignore[method-assign]
    world.local = Retryable("no such folder")
    reading = look(world.installation())["disk_used_percent"]
    assert reading.value is not None and 0 < reading.value < 100
    assert reading.evidence["name"] == "warehouse: default"


def test_what_cannot_be_asked_is_no_reading_and_no_exception(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.lag = Retryable("Kafka at k:1 does not answer")
    world.local = Retryable("no such folder")
    world.rows = Retryable("away")
    installation = world.installation()
    for _ in range(5):
        assert not look(installation).keys() & {"consumer_lag_events", "disk_used_percent"}
    assert sum("the consumer lag cannot be read" in message for message in caplog.messages) == 1
    caplog.set_level(logging.INFO, "headrace.watcher")
    world.lag = {}
    assert look(installation)["consumer_lag_events"].value == 0
    assert "the consumer lag can be read again" in caplog.messages


def test_a_look_that_hangs_leaves_no_old_reading_behind(world: World) -> None:
    installation = world.installation()
    assert look(installation)
    world.clock.advance(25)
    assert installation.readings()
    world.clock.advance(10)
    assert installation.readings() == []


def test_nothing_is_asked_that_no_rule_needs(world: World, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rules:\n  full:\n    title: x\n    description: x\n    severity: info\n    signal: disk_used_percent\n"
        "    window: 1m\n    comparison: above\n    threshold: 1\n    runbook: x\n"
    )
    assert [work.name for work in world.installation(rules).background()] == ["disks"]


def test_used_is_what_is_not_free() -> None:
    """Blocks that the system keeps for root are of no use to us."""
    assert used_percent(Disk("d", "/", 200, 20)) == 90.0


Change = Callable[[World], None]


def _ask(part: str, errors: int, n: int) -> Change:
    def change(world: World) -> None:
        for number in range(n):
            status = 503 if number < errors else 200
            if part == "collector":
                world.collector.request(EVENTS, status)
            else:
                world.api.requests.labels("/x", "GET", str(status)).inc()

    return change


def _wait(events: int) -> Change:
    def change(world: World) -> None:
        world.lag = {"headrace.events": Waiting(events // 100, events, 3)}

    return change


def _fill(free: int) -> Change:
    def change(world: World) -> None:
        world.local = Disk("data folder", "/data", 100 * GB, free * GB)

    return change


def _flood(n: int) -> Change:
    def change(world: World) -> None:
        world.floods = [{"topic": "headrace.events", "place": "partition 0 offset 7", "bad": 1000}] * n

    return change


def _calculate(seconds: float) -> Change:
    def change(world: World) -> None:
        world.api.calculated("cac", seconds, world.clock.monotonic())

    return change


def _idle(world: World) -> None:
    """Nothing happens."""


@pytest.mark.parametrize(
    ("rule", "bad", "good", "title"),
    [
        ("collector_errors", _ask("collector", 2, 50), _ask("collector", 0, 50), "The collector fails "),
        ("api_errors", _ask("api", 2, 50), _ask("api", 0, 50), "The API fails "),
        ("workers_behind", _wait(150_000), _wait(1_000), "150000 events wait"),
        ("disk_nearly_full", _fill(9), _fill(30), "A disk is 91 % full"),
        ("flood_of_bad_messages", _flood(1), _flood(0), "A consumer has stopped"),
        ("metrics_slow", _calculate(42.0), _idle, "A metric took 42 s"),
    ],
)
def test_each_shipped_rule_raises_once_and_resolves(
    world: World, rule: str, bad: Change, good: Change, title: str
) -> None:
    installation, engine = world.installation(), AlertEngine(load_rules())

    def spend(seconds: float, change: Change) -> list[Transition]:
        found: list[Transition] = []
        end = world.clock.now() + seconds
        while world.clock.now() < end:
            world.clock.advance(5)
            change(world)
            look(installation)
            found += engine.observe(installation.readings(), world.clock.now())
        return [transition for transition in found if transition.notify]

    assert spend(60, good) == []
    raised = spend(180, bad)
    assert [(one.kind, one.row.rule_id, one.row.tenant) for one in raised] == [(Kind.RAISED, rule, "ops")]
    assert raised[0].row.title.startswith(title)
    resolved = spend(1_200, good)
    assert [(one.kind, one.row.alert_id) for one in resolved] == [(Kind.RESOLVED, raised[0].row.alert_id)]
