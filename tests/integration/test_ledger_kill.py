"""A collector killed under a retrying client: the ledger balances to the last event, and a planted loss is told."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from deploy.embedded import warehouse
from deploy.embedded.process import ServerHandle, free_port
from deploy.kafka_admin import lag
from deploy.parts import CONSUMED, group_of
from deploy.settings import Settings, to_environment
from schemas.alerting.rules import load_rules
from schemas.clock import ManualClock
from schemas.keys import DEV_WRITE_KEY
from sinks.warehouse import Warehouse
from stream_processors.alerting.engine import AlertEngine
from stream_processors.watch.ledger_gauges import LedgerGauges
from stream_processors.watch.reconcile import Reconciler
from tests.e2e.doors import eventually
from tests.e2e.events import clicked
from tests.integration.servers import prepare
from tests.kafka_servers import KafkaServer
from tests.support.processes import HeadraceProcess

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("ledger")]

BATCH = 20
KILLS = 3


@pytest.fixture
def house(tmp_path: Path) -> Iterator[ServerHandle]:
    server = warehouse.start_process(tmp_path / "warehouse", memory_mb=1024)
    yield server
    server.stop()


@dataclass
class Client:
    """Sends batches one after the other, each again and again until the collector answers 200."""

    port: int
    acknowledged: list[str] = field(default_factory=list)
    again: int = 0

    def __post_init__(self) -> None:
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self.stopping.is_set():
            batch = [clicked(f"user-{n}") for n in range(BATCH)] + [{"event_type": "nonsense"}]
            while self._post(batch) != 200:
                self.again += 1
                time.sleep(0.02)
            self.acknowledged += [event["event_id"] for event in batch[:BATCH]]

    def _post(self, batch: list[dict[str, object]]) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Authorization": f"Bearer {DEV_WRITE_KEY}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/api/analytics/events", json.dumps(batch), headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


class Judge:
    """The reconciliation over the real warehouse, ten minutes ahead, so that all minutes are closed."""

    def __init__(self, store: Warehouse) -> None:
        self.store, self.clock = store, ManualClock(time.time() + 400)
        self.reconciler = Reconciler(store, [86400.0], self.clock, LedgerGauges(CollectorRegistry()), 15.0)
        self.engine = AlertEngine(load_rules(), "")
        self.told: list[str] = []

    def minutes(self, n: int) -> None:
        for _ in range(n):
            self.reconciler.run()
            found = self.engine.observe(self.reconciler.readings(), self.clock.now())
            self.told += [f"{one.row.title} {one.kind.value}" for one in found]
            self.clock.advance(60)

    def sums(self) -> dict[str, int]:
        rows = self.store.query("SELECT stage, sum(n) AS n FROM ledger FINAL WHERE tenant != '' GROUP BY stage")
        return {row["stage"]: int(row["n"]) for row in rows}

    def differences(self) -> list[dict[str, object]]:
        return self.store.query("SELECT * FROM reconciliation FINAL WHERE tenant != '' AND difference != 0")


def _listening(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _kill_and_go_on(collector: HeadraceProcess, client: Client, port: int) -> None:
    """Kill it while it takes events, three times, and leave in peace at the end."""
    rng = random.Random(7)
    for _ in range(KILLS):
        taken = len(client.acknowledged)
        eventually(lambda: len(client.acknowledged), lambda n, taken=taken: n > taken + 10 * BATCH)  # type: ignore[misc]
        time.sleep(rng.random() * 0.05)
        collector.kill()
        collector.start()
        eventually(lambda: _listening(port))
    taken = len(client.acknowledged)
    eventually(lambda: len(client.acknowledged) > taken + 5 * BATCH)


def _lose_a_chunk(store: Warehouse) -> int:
    """Delete all traces of a chunk that its collector has counted; how many events it had."""
    boot = store.query("SELECT argMax(origin, n) AS boot FROM ledger WHERE stage = 'watermark'")[0]["boot"]
    (chunk,) = store.query(
        f"SELECT origin, n FROM ledger FINAL WHERE stage = 'accepted' AND bitShiftRight(origin, 32) = {boot}"
        " ORDER BY origin LIMIT 1"
    )
    for table, column in (("ledger", "origin"), ("events", "chunk")):
        store.command(f"ALTER TABLE {table} DELETE WHERE {column} = {chunk['origin']} SETTINGS mutations_sync = 1")
    return int(chunk["n"])


def _read_all(settings: Settings, worker: HeadraceProcess) -> None:
    def behind() -> int:
        worker.check()
        return sum(lag(settings.kafka.bootstrap, group_of(settings, "events"), CONSUMED["events"]).values())

    eventually(behind, lambda n: n == 0)


def test_killed_collectors_leave_no_difference_and_a_planted_loss_is_told(
    kafka: KafkaServer, house: ServerHandle, tmp_path: Path
) -> None:
    port = free_port()
    more = {"DEV_KEYS": "1", "COLLECTOR_PORT": str(port), "COLLECTOR_GATEWAY_LEDGER_SECONDS": "2"}
    settings = prepare(kafka, house, tmp_path, **more)
    environment = to_environment(settings)
    collector = HeadraceProcess(("collect",), environment, tmp_path / "collector.log")
    worker = HeadraceProcess(("process", "--role", "events"), environment, tmp_path / "worker.log")
    store = Warehouse(settings.warehouse)
    try:
        worker.start()
        collector.start()
        eventually(lambda: _listening(port))
        with Client(port) as client:
            _kill_and_go_on(collector, client, port)
        collector.term()
        _read_all(settings, worker)

        judge = Judge(store)
        judge.minutes(4)
        sums = judge.sums()
        assert judge.differences() == [] and judge.told == []
        assert sums["received"] + sums["recovered"] == sums["accepted"] + sums["rejected"]
        assert sums["recovered"] > 0, "every kill came just after a publication"
        stored = {row["event_id"] for row in store.query("SELECT DISTINCT event_id FROM events")}
        assert stored >= set(client.acknowledged)
        assert sums["accepted"] == len(stored) + sums.get("duplicate", 0)

        lost = _lose_a_chunk(store)
        judge = Judge(store)
        judge.minutes(5)
        assert judge.told == [f"{lost} events are not accounted for raised"], (judge.told, judge.differences())
        worker.term()
    finally:
        for process in (collector, worker):
            process.end()
        store.close()
    print(f"\n{len(client.acknowledged)} acknowledged, {client.again} sent again, {sums}")
