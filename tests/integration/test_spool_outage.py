"""Kafka is killed under a collector with a spool, and the collector, too: what was acknowledged arrives, in order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.embedded.process import free_port
from deploy.kafka_admin import create_topics
from schemas.keys import DEV_WRITE_KEY
from schemas.topics import EVENTS, topics
from tests.e2e.doors import eventually
from tests.ingest.support import event
from tests.ingest.test_kafka import read_all
from tests.kafka_servers import KafkaServer, need, open_kafka
from tests.support.processes import HeadraceProcess

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("apache")]

PARTITIONS = 4


class Sender(threading.Thread):
    """One user, whose next event is sent when the one before is acknowledged."""

    def __init__(self, url: str, user: str, stopping: threading.Event) -> None:
        super().__init__(daemon=True)
        self._url, self._user, self._stopping = url, user, stopping
        self.acknowledged: list[str] = []

    def run(self) -> None:
        headers = {"Authorization": f"Bearer {DEV_WRITE_KEY}"}
        with httpx.Client(base_url=self._url, headers=headers, timeout=15) as client:
            while not self._stopping.is_set():
                name = f"{self._user}/{len(self.acknowledged):05}"
                body = event(event_id=name, user_id=self._user, timestamp=time.time())
                while not self._stopping.is_set() and not self._sent(client, body):
                    time.sleep(0.05)

    def _sent(self, client: httpx.Client, body: dict[str, object]) -> bool:
        try:
            answer = client.post("/api/analytics/events", json=body)
        except httpx.HTTPError:
            return False
        if answer.status_code == 200:
            self.acknowledged.append(str(body["event_id"]))
            return True
        assert answer.status_code in (429, 503), answer.text
        assert int(answer.headers["retry-after"]) >= 1
        return False


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KafkaServer]:
    need("apache", request.config)
    running = open_kafka("apache", tmp_path)
    create_topics(running.url, topics(PARTITIONS))
    yield running
    running.close()


def test_no_acknowledged_event_is_lost_and_each_users_order_is_kept(server: KafkaServer, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "HEADRACE_DATA_DIR": str(tmp_path),
        "HEADRACE_KAFKA_BOOTSTRAP": server.url,
        "HEADRACE_DEV_KEYS": "1",
        "HEADRACE_COLLECTOR_PORT": str(port),
        "HEADRACE_COLLECTOR_SPOOL_DIR": str(tmp_path / "spool"),
        "HEADRACE_COLLECTOR_GATEWAY_AWAY_SECONDS": "1",
    }
    collector = HeadraceProcess(("collect",), environment, tmp_path / "collector.log")
    stopping = threading.Event()
    senders = [Sender(url, f"user-{number}", stopping) for number in range(6)]

    def acknowledged() -> int:
        return sum(len(sender.acknowledged) for sender in senders)

    def wait_for_more(count: int) -> None:
        goal = acknowledged() + count
        eventually(acknowledged, lambda found: found >= goal, within=90)

    collector.start()
    try:
        for sender in senders:
            sender.start()
        wait_for_more(60)
        server.kill()
        wait_for_more(60)
        assert httpx.get(f"{url}/health/ready").json()["status"] == "spooling"
        collector.kill()
        collector.start()
        wait_for_more(60)
        assert server.cluster is not None
        server.cluster.start(180.0)
        wait_for_more(60)
        eventually(lambda: _ready(url), lambda status: status == "ready", within=90)
        wait_for_more(20)
    finally:
        stopping.set()
        for sender in senders:
            sender.join(20)
        collector.end()
    _check(server, senders)


def _ready(url: str) -> str:
    answer: dict[str, str] = httpx.get(f"{url}/health/ready").json()
    return answer.get("status", "")


def _check(server: KafkaServer, senders: list[Sender]) -> None:
    found: dict[str, list[str]] = {}
    for _, value, _ in read_all(server.url, EVENTS):
        for line in map(json.loads, value.splitlines()):
            ids = found.setdefault(line["user_id"], [])
            if line["event_id"] not in ids:
                ids.append(line["event_id"])
    for number, sender in enumerate(senders):
        ids = found[f"user-{number}"]
        assert ids == sorted(ids)
        assert set(sender.acknowledged) <= set(ids)
