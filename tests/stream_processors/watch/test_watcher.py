"""The watcher: a spike is announced once, survives a restart, and is acknowledged and resolved by events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest

from schemas.alerting.incident import AlertRow, Kind
from schemas.alerting.rules import load_rules
from schemas.clock import ManualClock
from schemas.errors import Permanent, Retryable
from schemas.taxonomy import shipped_packs, validator
from schemas.wire import encode_lines
from stream_processors.insights.anomaly_runner import AnomalyRunner
from stream_processors.metrics import WorkerMetrics
from stream_processors.outbox import Outbox
from stream_processors.ports import Record
from stream_processors.settings import WatcherSettings
from stream_processors.watch.series import KINDS, history, points
from stream_processors.watch.watcher import Watcher, WatcherPorts
from tests.stream_processors.watch.test_board import cell
from tests.support.chdb_warehouse import ChdbWarehouse

ROLES = {name: pack.roles for name, pack in shipped_packs().items()}
NOW = 1_795_000_000.0 // 300 * 300 + 200
MINUTE = int(NOW) // 60 * 60


class Publisher:
    """Remembers events; refuses what the taxonomy would refuse."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.broken = False
        self._validator = validator(shipped_packs()["marketing"])

    def publish(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        if self.broken:
            raise Retryable("Kafka is away")
        for event in events:
            verdict = self._validator.validate(dict(event), received_at=NOW + 600)
            assert isinstance(verdict, dict), verdict
        self.events += events


class Notifier:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Kind, str]] = []

    def notify(self, kind: Kind, row: AlertRow) -> int:
        self.told.append((kind, row.rule_id))
        return 1


class Scene:
    """A watcher over the real engine with 8 days of steady clicks, 20 a minute."""

    def __init__(self) -> None:
        self.warehouse, self.clock = ChdbWarehouse(), ManualClock(NOW)
        self.publisher, self.notifier = Publisher(), Notifier()
        steady = [
            cell("campaign_clicked", 20 + (minute // 60) % 3, minute=minute, campaign_id="")
            for minute in range(MINUTE - 8 * 86400, MINUTE - 60, 60)
        ]
        self.warehouse.insert_lines("windows", encode_lines(steady))
        self.watcher = self.start()

    def start(self) -> Watcher:
        ports = WatcherPorts(self.warehouse, self.publisher, self.notifier, self.clock)
        rules = load_rules()
        watcher = Watcher(WatcherSettings(), rules, ROLES, ports, AnomalyRunner(KINDS), WorkerMetrics("watch"))
        watcher.restore()
        watcher.evaluate()
        return watcher

    def clicks(self, events: int, version: int, minute: int = MINUTE) -> None:
        lines = encode_lines([cell("campaign_clicked", events, minute=minute, campaign_id="", version=version)])
        self.warehouse.insert_lines("windows", lines)
        self.watcher.handle_rollups([Record(0, version, lines, {})])()

    def alerts(self) -> list[dict[str, Any]]:
        return self.warehouse.query("SELECT * FROM alerts FINAL WHERE rule_id LIKE 'anomaly%' ORDER BY raised_at")


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_spike_is_announced_once_and_published(scene: Scene) -> None:
    assert scene.alerts() == []
    for version, events in enumerate((900, 1200, 1200), 2):
        scene.clicks(events, version)
        scene.watcher.evaluate()
        scene.clock.advance(1)
    assert [row["subject"] for row in scene.alerts()] == ["series:clicks"]
    assert [told for told in scene.notifier.told if told[1] == "anomaly"] == [(Kind.RAISED, "anomaly")]
    assert {event["properties"]["metric_id"] for event in scene.publisher.events} >= {"clicks"}
    rows = scene.warehouse.query("SELECT metric_id, type FROM anomalies FINAL")
    assert {"metric_id": "clicks", "type": "spike"} in rows


def test_a_restart_neither_repeats_nor_forgets(scene: Scene) -> None:
    scene.clicks(1200, 2)
    scene.watcher.evaluate()
    told, open_alerts = list(scene.notifier.told), scene.alerts()
    scene.clock.advance(5)
    scene.watcher = scene.start()
    scene.clicks(1200, 3)
    scene.watcher.evaluate()
    assert scene.notifier.told == told
    assert [row["alert_id"] for row in scene.alerts()] == [row["alert_id"] for row in open_alerts]


def test_people_acknowledge_and_resolve_by_events(scene: Scene) -> None:
    scene.clicks(1200, 2)
    scene.watcher.evaluate()
    alert_id = scene.alerts()[0]["alert_id"]
    for number, (event_type, state) in enumerate(
        (("alert_acknowledged", "acknowledged"), ("alert_resolved", "resolved"))
    ):
        row = {
            "tenant": "demo",
            "event_id": f"action-{number}",
            "event_type": event_type,
            "user_id": "ada",
            "timestamp": NOW,
            "received_at": NOW + number,
            "properties": {"alert_id": alert_id},
        }
        scene.warehouse.insert_lines("events", orjson.dumps(row) + b"\n")
        scene.clock.advance(1)
        scene.watcher.evaluate()
        by_id = {alert["alert_id"]: alert["state"] for alert in scene.alerts()}
        assert by_id[alert_id] == state


def test_what_cannot_be_said_now_is_said_later_in_order(scene: Scene) -> None:
    scene.publisher.broken = True
    scene.clicks(1200, 2)
    scene.watcher.evaluate()
    assert scene.publisher.events == []
    assert scene.alerts(), "the alert does not wait for Kafka"
    scene.publisher.broken = False
    scene.clock.advance(1)
    scene.watcher.evaluate()
    assert scene.publisher.events


def test_a_table_that_was_exchanged_for_a_rebuilt_one_is_read_again(scene: Scene) -> None:
    board = scene.watcher._board
    assert board.sums("demo", "", MINUTE - 3600, MINUTE - 120)["click"].events > 1_000
    scene.warehouse.command("TRUNCATE TABLE windows")
    rebuilt = [cell("campaign_clicked", 2, minute=MINUTE - 600, campaign_id="", version=1)]
    scene.warehouse.insert_lines("windows", encode_lines(rebuilt))
    scene.warehouse.insert_lines("checkpoints", b'{"name": "swap", "covered_until": 1, "version": 7}\n')
    scene.clock.advance(11)
    scene.watcher.evaluate()
    assert scene.watcher._board.sums("demo", "", MINUTE - 3600, MINUTE - 120)["click"].events == 2


def test_a_minute_whose_cells_were_let_go_is_counted_from_the_table(scene: Scene) -> None:
    """Late events change a minute of some hours ago; the watcher keeps its sums only."""
    old = MINUTE - 2 * 3600
    before = scene.watcher._board.sums("demo", "", old, old + 60)["click"].events
    scene.clicks(before + 5, 2, minute=old)
    scene.clock.advance(3)
    scene.watcher.evaluate()
    assert scene.watcher._board.sums("demo", "", old, old + 60)["click"].events == before + 5
    assert len(scene.watcher._board) <= 61


def test_an_unreadable_rollup_costs_no_other(scene: Scene) -> None:
    good = encode_lines([cell("campaign_clicked", 1500, minute=MINUTE, campaign_id="", version=9)])
    scene.watcher.handle_rollups([Record(0, 1, b"\x00", {}), Record(0, 2, good, {})])()
    scene.watcher.evaluate()
    assert scene.alerts()


def test_history_out_of_the_table_equals_what_the_board_says(scene: Scene) -> None:
    from stream_processors.watch.board import Board

    cells = [
        cell("campaign_delivered", 9, subtype="holdout"),
        cell("campaign_delivered", 5, version=2),
        cell("campaign_viewed", 3, subtype="opened"),
        cell("campaign_viewed", 8, subtype="received"),
        cell("user_purchased", 2, amount=29_330_000),
        cell("model_inference_completed", 1000),
    ]
    now = float(cells[0].minute + 30)
    warehouse = ChdbWarehouse()
    warehouse.insert_lines("windows", encode_lines(cells))
    table = {point[1]: point[4] for point in history(warehouse, ROLES.values(), now - 3600, now + 60)}
    board = {point[1]: point[4] for point in points(Board(ROLES.values()).update(cells, now))}
    assert {name: value for name, value in table.items() if value} == board
    assert (board["impressions"], board["opens"], board["revenue"]) == (5, 3, 29.33)
    assert board["events"] == 27, "the system's own events are not the business's"


def test_an_outbox_leaves_out_what_is_refused_and_goes_on() -> None:
    said: list[str] = []

    class Warehouse(ChdbWarehouse):
        def __init__(self) -> None:
            pass

        def insert_lines(self, table: str, ndjson: bytes) -> None:
            if table == "refused":
                raise Permanent("no such table")
            said.append(table)

    outbox = Outbox(Warehouse(), Publisher())
    outbox.add("refused", b"{}\n")
    outbox.add("alerts", b"{}\n")
    outbox.after(lambda: said.append("after"))
    outbox.send()
    assert said == ["alerts", "after"]
    assert len(outbox) == 0
