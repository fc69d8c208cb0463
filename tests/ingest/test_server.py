"""A collector as a process, over real sockets."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from ingest import server
from ingest.settings import CollectorSettings
from schemas.clock import ManualClock
from schemas.errors import ConfigError, Fatal
from schemas.keys import KeyStore
from tests.ingest.support import event, validators

ROOT = Path(__file__).resolve().parents[2]
AUTH = "authorization: Bearer dev-write-key\r\n"


@dataclass
class Running:
    process: subprocess.Popen[str]
    port: int

    def stop(self) -> dict[str, object]:
        """SIGTERM; what the process said at its end."""
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=20)
        assert self.process.returncode == 0
        result: dict[str, object] = json.loads(output)
        return result

    def post(self, *events: object) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"authorization": "Bearer dev-write-key", "content-type": "application/json"}
        connection.request("POST", "/api/analytics/events", json.dumps(events), headers)
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer


@contextlib.contextmanager
def running(kafka: str = "ok", **settings: object) -> Iterator[Running]:
    chosen = CollectorSettings.model_validate({"port": 0, **settings}).model_dump_json()
    command = [sys.executable, "-m", "tests.ingest.collector_process", kafka, chosen]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.02)
        yield Running(process, port)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def read_answer(connection: socket.socket) -> bytes:
    connection.settimeout(5)
    answer = b""
    while b"}" not in answer:
        piece = connection.recv(65536)
        if not piece:
            break
        answer += piece
    return answer


@pytest.fixture(scope="module")
def collector() -> Iterator[Running]:
    with running() as process:
        yield process


def now_event() -> dict[str, object]:
    return event(timestamp=time.time())


def test_a_2_gb_body_is_refused_early_and_never_held(collector: Running) -> None:
    before = psutil.Process(collector.process.pid).memory_info().rss
    with socket.create_connection(("127.0.0.1", collector.port)) as connection:
        started = time.monotonic()
        head = f"POST /api/analytics/events HTTP/1.1\r\nhost: x\r\n{AUTH}content-length: {2 << 30}\r\n\r\n"
        connection.sendall(head.encode() + bytes(100_000))
        assert read_answer(connection).startswith(b"HTTP/1.1 413 ")
        assert time.monotonic() - started < 1
        with pytest.raises(OSError):
            for _ in range(20_000):
                connection.sendall(bytes(1_000_000))
    assert psutil.Process(collector.process.pid).memory_info().rss - before < 30_000_000


def test_an_endless_chunked_body_is_refused(collector: Running) -> None:
    with socket.create_connection(("127.0.0.1", collector.port)) as connection:
        head = f"POST /api/analytics/events HTTP/1.1\r\nhost: x\r\n{AUTH}transfer-encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        chunk = b"%x\r\n" % 1_000_000 + b" " * 1_000_000 + b"\r\n"
        with contextlib.suppress(OSError):
            for _ in range(4):
                connection.sendall(chunk)
        assert read_answer(connection).startswith(b"HTTP/1.1 413 ")


def test_endless_headers_are_refused(collector: Running) -> None:
    with socket.create_connection(("127.0.0.1", collector.port)) as connection:
        connection.sendall(b"POST /api/analytics/events HTTP/1.1\r\nx-long: ")
        with contextlib.suppress(OSError):
            for _ in range(100):
                connection.sendall(b"a" * 65536)
        with contextlib.suppress(ConnectionResetError):
            connection.settimeout(5)
            assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_what_is_no_http_is_400(collector: Running) -> None:
    with socket.create_connection(("127.0.0.1", collector.port)) as connection:
        connection.sendall(b"\x16\x03\x01 not http\r\n\r\n")
        connection.settimeout(5)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_refused_request_leaves_the_connection_usable(collector: Running) -> None:
    connection = HTTPConnection("127.0.0.1", collector.port, timeout=5)
    for key, status in (("wrong", 401), ("dev-write-key", 200), ("wrong", 401), ("dev-write-key", 200)):
        headers = {"authorization": f"Bearer {key}"}
        connection.request("POST", "/api/analytics/events", json.dumps(now_event()), headers)
        response = connection.getresponse()
        assert (response.status, response.getheader("connection")) == (status, None)
        response.read()
    connection.close()


def test_sigterm_answers_running_requests_drains_and_publishes() -> None:
    with running("slow") as process:
        answers: list[tuple[int, bytes]] = []
        sender = threading.Thread(target=lambda: answers.append(process.post(now_event(), now_event())))
        sender.start()
        time.sleep(0.2)
        result = process.stop()
        sender.join()
    assert answers[0][0] == 200
    assert result == {"events": 2, "ledger": 2, "closed": True}


def test_two_collectors_may_share_a_port() -> None:
    with running(reuse_port=True) as first, running(reuse_port=True, port=first.port) as second:
        first.stop()
        assert second.post(now_event())[0] == 200
        assert second.stop()["events"] == 1


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Fatal, match=r"cannot listen on 127\.0\.0\.1:"):
            server.listen(CollectorSettings(port=taken.getsockname()[1]))


def test_a_key_of_a_pack_that_is_not_loaded_refuses_to_boot(clock: ManualClock) -> None:
    keys = KeyStore(None, clock, dev_keys=True)
    with pytest.raises(ConfigError, match="marketing"):
        server.serve(CollectorSettings(), "127.0.0.1:1", {}, keys, clock)
    assert "marketing" in validators()
