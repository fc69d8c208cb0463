"""A `headrace up` as a child process, and what reads its live stream."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.doors import ANALYTICS, PATIENCE, Doors

ROOT = Path(__file__).parents[2]
READY = re.compile(r"^headrace ready  collector (http://127\.0\.0\.1:\d+)  dashboard (http://127\.0\.0\.1:\d+)$", re.M)


def headrace(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a headrace command to its end; the environment has none of our own settings."""
    command = [sys.executable, "-m", "deploy.cli", *words]
    return subprocess.run(
        command, cwd=ROOT, env=clean(), capture_output=True, text=True, timeout=300, check=False, **more
    )


def clean() -> dict[str, str]:
    """This process's environment without any setting of Headrace."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}


class Up:
    """`start`, `stop` and `start` again on the same folder and ports."""

    def __init__(self, data_dir: Path, ports: tuple[int, int], broker: str = "tansu") -> None:
        self.data_dir, self.broker, self._ports = data_dir, broker, ports
        self.collector, self.api = (f"http://127.0.0.1:{port}" for port in ports)
        self.seconds = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._log = data_dir.with_suffix(".log")

    @property
    def log(self) -> str:
        """What it wrote, both streams."""
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    def start(self) -> None:
        """Start and wait for the line that says ready."""
        collector, api = map(str, self._ports)
        command = [sys.executable, "-m", "deploy.cli", "up", "--data-dir", str(self.data_dir)]
        command += ["--collector-port", collector, "--api-port", api, "--broker", self.broker]
        began, seen = time.monotonic(), len(READY.findall(self.log))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=clean(), stdout=log, stderr=subprocess.STDOUT)
        while len(READY.findall(self.log)) == seen:
            assert self._process.poll() is None, self.log
            assert time.monotonic() - began < PATIENCE, self.log
            time.sleep(0.05)
        assert READY.findall(self.log)[-1] == (self.collector, self.api)
        self.seconds = time.monotonic() - began

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE)

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def doors(self, write_key: str = "dev-write-key", secret_key: str = "dev-secret-key") -> Doors:
        """The doors, by default with the development keys."""
        return Doors(self.collector, self.api, write_key, secret_key)


class Live:
    """Messages of `/live` as they come."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()

    def put(self, name: str, value: dict[str, Any]) -> None:
        self._queue.put((name, value))

    def wait(self, name: str, right: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
        """The next message of this name that is right; `queue.Empty` when none comes."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found, value = self._queue.get(timeout=max(0.01, deadline - time.monotonic()))
            if found == name and right(value):
                return value


@contextmanager
def live(doors: Doors) -> Iterator[Live]:
    """The live stream of a tenant, read by a thread until the block ends."""
    stream = Live()
    connection = http.client.HTTPConnection(doors.api.base_url.host, doors.api.base_url.port, timeout=PATIENCE)
    connection.request("GET", f"{ANALYTICS}/live?access_token={doors.secret_key}")
    plug = connection.sock
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")

    def read() -> None:
        name = ""
        with contextlib.suppress(OSError, http.client.HTTPException):  # the end of the block, in the middle of a line
            while line := answer.readline():
                kind, _, value = line.decode().rstrip("\n").partition(": ")
                if kind == "event":
                    name = value
                elif kind == "data":
                    stream.put(name, json.loads(value))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield stream
    finally:
        plug.shutdown(socket.SHUT_RDWR)
        reader.join()
        connection.close()
