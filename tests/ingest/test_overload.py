"""A real collector whose Kafka takes connections and never answers, under clients that do not stop: flat and clear."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from deploy.embedded.process import free_port
from tests.e2e.doors import eventually
from tests.ingest.support import event
from tests.support.processes import HeadraceProcess

pytestmark = pytest.mark.integration

SECONDS = 5.0
CLIENTS = 8
GROWTH_BYTES = 256 << 20
"""What requests that are being worked on, the producer's queue and the spool's may hold."""


class BlackHole:
    """Takes connections, reads nothing, says nothing."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._taken: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                self._taken.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listener.close()
        for connection in self._taken:
            connection.close()


@pytest.fixture
def hole() -> Iterator[BlackHole]:
    one = BlackHole()
    yield one
    one.close()


class Hammer(threading.Thread):
    """A client that sends the same batch again and again, whatever it hears."""

    def __init__(self, port: int, body: bytes, end: float) -> None:
        super().__init__(daemon=True)
        self._port, self._body, self._end = port, body, end
        self.answers: Counter[int] = Counter()
        self.waits: set[int] = set()
        self.slowest = 0.0

    def run(self) -> None:
        while time.monotonic() < self._end:
            connection, began = HTTPConnection("127.0.0.1", self._port, timeout=30), time.monotonic()
            try:
                headers = {"Authorization": "Bearer dev-write-key", "Content-Type": "application/json"}
                connection.request("POST", "/api/analytics/events", self._body, headers)
                answer = connection.getresponse()
                answer.read()
                self.answers[answer.status] += 1
                if answer.status != 200:
                    self.waits.add(int(answer.headers["Retry-After"]))
            except (OSError, HTTPException):
                self.answers[0] += 1
            finally:
                connection.close()
            self.slowest = max(self.slowest, time.monotonic() - began)


@pytest.mark.parametrize("spool", [False, True])
def test_memory_stays_flat_and_every_answer_is_clear(hole: BlackHole, tmp_path: Path, spool: bool) -> None:
    port = free_port()
    environment = {
        "HEADRACE_DATA_DIR": str(tmp_path),
        "HEADRACE_KAFKA_BOOTSTRAP": f"127.0.0.1:{hole.port}",
        "HEADRACE_DEV_KEYS": "1",
        "HEADRACE_COLLECTOR_PORT": str(port),
        "HEADRACE_COLLECTOR_GATEWAY_AWAY_SECONDS": "1",
    }
    if spool:
        environment["HEADRACE_COLLECTOR_SPOOL_DIR"] = str(tmp_path / "spool")
        environment["HEADRACE_COLLECTOR_SPOOL_BYTES"] = str(8 << 20)
    collector = HeadraceProcess(("collect",), environment, tmp_path / "collector.log")
    collector.start()
    try:
        eventually(lambda: _status(port, "/health/live"), lambda status: status == 200)
        before = collector.rss()
        now = time.time()
        batch = [event(user_id=f"u{n}", timestamp=now, context={"note": "x" * 1500}) for n in range(400)]
        hammers = [Hammer(port, json.dumps(batch).encode(), time.monotonic() + SECONDS) for _ in range(CLIENTS)]
        for hammer in hammers:
            hammer.start()
        for hammer in hammers:
            hammer.join(60)
        collector.check()
        grown = collector.rss() - before
        answers = sum((hammer.answers for hammer in hammers), Counter[int]())
    finally:
        collector.end()
    assert answers.keys() <= {200, 429, 503}, answers
    assert answers[429] + answers[503] > 10
    assert bool(answers[200]) == spool
    assert {wait for hammer in hammers for wait in hammer.waits} <= set(range(1, 11))
    assert grown < GROWTH_BYTES, f"{grown >> 20} MiB"
    print(f"\nspool {spool}: {dict(answers)}, grown {grown >> 20} MiB")


def _status(port: int, path: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()
