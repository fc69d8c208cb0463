"""The reconciliation finds what is lost and only that, recovers what dead collectors could not tell, and tells it."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from schemas.alerting.readings import Reading
from schemas.alerting.rules import load_rules
from schemas.clock import ManualClock
from schemas.errors import Retryable
from stream_processors.alerting.engine import AlertEngine
from stream_processors.watch.ledger_gauges import OTHER, TENANTS, LedgerGauges
from stream_processors.watch.reconcile import DEPTH_SECONDS, Reconciler
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.collectors import Collector, Downstream, ledger_line

NOW = 1_795_000_000.0 // 60 * 60 + 20
MINUTE = int(NOW) // 60 * 60 - 60
"""The last minute that is closed."""


class Scene:
    """One collector, a worker's rows and the reconciliation; time moves by hand."""

    def __init__(self) -> None:
        self.warehouse, self.clock, self.registry = ChdbWarehouse(), ManualClock(NOW), CollectorRegistry()
        self.collector, self.down = Collector(7), Downstream(self.warehouse)
        self.reconciler = self.start()

    def start(self) -> Reconciler:
        self.registry = CollectorRegistry()
        gauges = LedgerGauges(self.registry)
        return Reconciler(self.warehouse, [3600.0, 86400.0], self.clock, gauges, 15.0)

    def deliver(self, n: int, *, minute: int = MINUTE, seen: bool = True, **more: Any) -> None:
        """A chunk that Kafka acknowledged."""
        chunk = self.collector.send("demo", minute, n, **more)
        self.collector.answer(chunk, good=True)
        if seen:
            self.down.take(chunk)

    def publish(self) -> None:
        self.down.publication(self.collector.publish())

    def round(self, seconds: float = 15.0) -> None:
        self.reconciler.run()
        self.clock.advance(seconds)

    def wait(self, minutes: int) -> None:
        """Rounds, one a minute."""
        for _ in range(minutes):
            self.round(60)

    def reading(self, window: float = 3600.0) -> Reading:
        (found,) = [one for one in self.reconciler.readings() if (one.tenant, one.window) == ("demo", window)]
        return found

    def gauge(self, check: str, tenant: str = "demo") -> float | None:
        return self.registry.get_sample_value("headrace_ledger_difference", {"tenant": tenant, "check": check})


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_balanced_minute_is_noted_with_what_was_expected_and_found(scene: Scene) -> None:
    scene.deliver(10)
    scene.deliver(3, rejected=True)
    scene.publish()
    scene.round()
    rows = scene.warehouse.query(
        "SELECT what, expected, found, difference FROM reconciliation FINAL WHERE tenant = 'demo' ORDER BY what"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("accepted", 10, 10, 0),
        ("received", 13, 13, 0),
        ("rejected", 3, 3, 0),
    ]
    assert scene.reading().value == 0 and scene.gauge("received") == 0


def test_a_chunk_that_was_counted_and_is_lost_shows_and_goes_when_it_comes(scene: Scene) -> None:
    scene.deliver(10)
    late = scene.collector.send("demo", MINUTE, 4)
    scene.collector.answer(late, good=True)
    scene.publish()
    scene.round()
    assert scene.down.differences() == {("demo", MINUTE, "received"): 4}
    reading = scene.reading()
    assert reading.value == 4 and reading.evidence["by_check"] == {"received": 4}
    assert reading.evidence["contributors"] == [{"minute": MINUTE, "check": "received", "expected": 14, "found": 10}]
    assert scene.gauge("received") == 4
    scene.wait(12)
    assert scene.reading().value == 4, "it does not go by waiting"
    assert scene.down.sums()["recovered"] == 0
    scene.down.take(late)
    scene.round()
    assert scene.down.differences() == {} and scene.reading().value == 0 and scene.gauge("received") == 0


def test_events_that_are_gone_from_the_table_show(scene: Scene) -> None:
    scene.deliver(5)
    scene.publish()
    scene.warehouse.command("TRUNCATE TABLE events")
    scene.round()
    assert scene.down.differences() == {("demo", MINUTE, "accepted"): 5}


def test_dead_letters_that_are_gone_show(scene: Scene) -> None:
    scene.deliver(5, rejected=True)
    scene.publish()
    scene.warehouse.command("TRUNCATE TABLE rejected_events")
    scene.round()
    assert scene.down.differences() == {("demo", MINUTE, "rejected"): 5}


def test_repeated_rows_hide_no_loss(scene: Scene) -> None:
    """Two rows of one event and none of another are one event, not two."""
    scene.deliver(4)
    scene.deliver(2)
    scene.publish()
    scene.warehouse.command("INSERT INTO events SELECT * FROM events WHERE chunk % 2 = 1")
    scene.warehouse.command("ALTER TABLE events DELETE WHERE chunk % 2 = 0 SETTINGS mutations_sync = 1")
    assert scene.warehouse.query("SELECT count() AS n FROM events") == [{"n": 4}]
    scene.round()
    assert scene.down.differences() == {("demo", MINUTE, "accepted"): 4}


def test_a_killed_collector_leaves_no_difference_and_its_events_are_recovered(scene: Scene) -> None:
    scene.deliver(10)
    scene.publish()
    scene.deliver(7)
    scene.deliver(2, rejected=True)
    scene.round()
    assert scene.down.differences() == {}, "nor any before it is recovered"
    assert scene.down.sums()["recovered"] == 0, "it may yet publish"
    scene.wait(7)
    assert scene.down.sums() == {"received": 10, "recovered": 9, "accepted": 17, "rejected": 2}
    versions = scene.warehouse.query("SELECT count() AS n FROM ledger WHERE stage = 'recovered'")
    assert versions == [{"n": 1}], "and that is written once"


def test_a_collector_that_publishes_after_all_takes_its_events_back(scene: Scene) -> None:
    scene.deliver(10)
    scene.wait(7)
    assert scene.down.sums()["recovered"] == 10
    scene.reconciler = scene.start()
    scene.round()
    scene.publish()
    scene.round()
    assert scene.down.sums() == {"received": 10, "recovered": 0, "accepted": 10}
    assert scene.down.differences() == {}


def test_a_chunk_that_kafka_has_without_telling_is_recovered_from_a_living_collector(scene: Scene) -> None:
    chunks = [scene.collector.send("demo", MINUTE, n) for n in (1, 2, 3, 4)]
    for chunk, good in zip(chunks, (True, False, False, True), strict=True):
        scene.collector.answer(chunk, good=good)
    for chunk in (chunks[0], chunks[2], chunks[3]):
        scene.down.take(chunk)
    scene.publish()
    scene.wait(7)
    assert scene.down.differences() == {}
    assert scene.down.sums() == {"received": 5, "abandoned": 5, "recovered": 3, "accepted": 8}


def test_counts_from_before_there_were_watermarks_are_not_recovered(scene: Scene) -> None:
    scene.deliver(10)
    scene.warehouse.insert_lines("ledger", ledger_line("demo", MINUTE, "received", 10, origin=7))
    scene.wait(7)
    assert scene.down.sums()["recovered"] == 0 and scene.down.differences() == {}


def test_a_minute_is_looked_at_again_when_it_is_old(scene: Scene) -> None:
    scene.deliver(5)
    scene.publish()
    scene.round()
    scene.deliver(3, seen=False)
    scene.publish()
    scene.round()
    assert scene.down.differences() == {}
    scene.wait(30)
    assert scene.down.differences() == {("demo", MINUTE, "received"): 3}


def test_after_a_start_the_whole_last_day_is_looked_at(scene: Scene) -> None:
    old = MINUTE - DEPTH_SECONDS + 7200
    scene.deliver(5, minute=old, seen=False)
    scene.publish()
    for _ in range(26):
        scene.round(1.0)
    assert scene.down.differences() == {("demo", old, "received"): 5}
    assert (scene.reading(3600.0).value, scene.reading(86400.0).value) == (0, 5)


def test_a_restart_remembers_what_was_wrong(scene: Scene) -> None:
    scene.deliver(5, minute=MINUTE - 7200, seen=False)
    scene.publish()
    for _ in range(26):
        scene.round(1.0)
    scene.reconciler = scene.start()
    scene.round()
    assert scene.reading(86400.0).value == 5


def test_a_clock_that_was_a_day_ahead_stops_nothing(scene: Scene) -> None:
    scene.clock.advance(86_400)
    scene.round()
    scene.clock.advance(-86_400)
    scene.deliver(5, seen=False)
    scene.publish()
    scene.round()
    assert scene.down.differences() == {("demo", MINUTE, "received"): 5}


def test_a_loss_raises_the_shipped_alert_after_two_minutes_and_resolves_when_it_is_found(scene: Scene) -> None:
    rules = load_rules()
    windows = {window for signal, window, _ in rules.needed() if signal == "ledger_difference_events"}
    scene.reconciler = Reconciler(scene.warehouse, windows, scene.clock, LedgerGauges(CollectorRegistry()), 15.0)
    engine = AlertEngine(rules, "")
    lost = scene.collector.send("demo", MINUTE, 4)
    scene.collector.answer(lost, good=True)
    scene.publish()
    told = []

    def minutes(n: int) -> None:
        for _ in range(4 * n):
            scene.round()
            for transition in engine.observe(scene.reconciler.readings(), scene.clock.now()):
                told.append((transition.row.rule_id, transition.kind.value))

    minutes(1)
    assert told == []
    minutes(2)
    assert told == [("ledger_difference", "raised")]
    (incident,) = engine.open_incidents()
    assert incident.title == "4 events are not accounted for" and incident.severity == "critical"
    scene.down.take(lost)
    minutes(3)
    assert told[-1] == ("ledger_difference", "resolved")


def test_a_warehouse_that_is_away_puts_a_round_off(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(sql: str) -> list[dict[str, Any]]:
        raise Retryable("the warehouse is away")

    scene.deliver(5, seen=False)
    scene.publish()
    with monkeypatch.context() as patched:
        patched.setattr(scene.warehouse, "query", away)
        scene.round()
        scene.round()
    assert list(scene.reconciler.readings()) == []
    scene.round()
    assert scene.reading().value == 5
    scene.clock.advance(3600)
    assert list(scene.reconciler.readings()) == [], "what is old is no reading"


def test_gauges_have_few_labels_and_lose_no_difference(scene: Scene) -> None:
    lines = [ledger_line(f"tenant-{n:03}", MINUTE, "received", n + 1, origin=9) for n in range(TENANTS + 20)]
    scene.warehouse.insert_lines("ledger", b"".join(lines))
    scene.round()
    assert scene.gauge("received", f"tenant-{TENANTS + 19:03}") == TENANTS + 20
    assert scene.gauge("received", OTHER) == sum(range(1, 21))
    page = generate_latest(scene.registry).decode()
    assert page.count("headrace_ledger_difference{") == 3 * (TENANTS + 1)
    assert "headrace_ledger_reconciled_timestamp_seconds" in page
