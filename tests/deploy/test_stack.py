"""`headrace up` as a whole: ready, robust against the death of every part, drained at the end."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy import conductor
from deploy.embedded import warehouse
from deploy.embedded.process import free_ports
from deploy.settings import changed, load
from deploy.stack import Stack, local_settings
from schemas.errors import Fatal
from schemas.keys import DEV_SECRET_KEY, DEV_WRITE_KEY
from schemas.taxonomy import shipped_packs
from schemas.taxonomy.example import example

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("up")]

READY = re.compile(r"^headrace ready  collector (http://127\.0\.0\.1:\d+)  dashboard (http://127\.0\.0\.1:\d+)$")


def send(collector: str, count: int, padding: int = 0) -> int:
    """Accepted events; sends the same ones again until they are taken."""
    pack = shipped_packs()["marketing"]
    base = example(pack, "session_started" if "session_started" in pack.events else next(iter(pack.events)))
    events = []
    for number in range(count):
        more = {"event_id": str(uuid.uuid4()), "timestamp": time.time(), "user_id": f"user-{number}"}
        events.append({**base, **more, "properties": {**base["properties"], "padding": os.urandom(padding).hex()}})
    request = urllib.request.Request(
        f"{collector}/api/analytics/events",
        json.dumps(events).encode(),
        {"Authorization": f"Bearer {DEV_WRITE_KEY}", "Content-Type": "application/json"},
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(json.load(answer)["accepted"])
        except (OSError, http.client.HTTPException) as error:
            assert getattr(error, "code", 503) in (429, 503), error
            assert time.monotonic() < deadline
            time.sleep(0.1)


def stored(url: str) -> int:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, b"SELECT count() FROM events FINAL"), timeout=20
        ) as answer:
            return int(answer.read())
    except OSError:
        return -1


def eventually(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of this module's own: its tests kill parts of it."""
    base = changed(load({}), {"embedded.broker_memory_mb": 64})
    housekeeping, conductor._HOUSEKEEPING_SECONDS = conductor._HOUSEKEEPING_SECONDS, 1.0  # type: ignore[misc]
    data_dir = tmp_path_factory.mktemp("up")
    running = Stack(local_settings(data_dir=data_dir, collector_port=0, api_port=0, base=base))
    running.start()
    try:
        running.wait_ready(120)
        yield running
    finally:
        running.stop()
        conductor._HOUSEKEEPING_SECONDS = housekeeping  # type: ignore[misc]


@pytest.mark.parametrize("name", ["worker-1", "warehouse", "collector"])
def test_a_part_that_is_killed_comes_back_and_no_event_is_lost(
    stack: Stack, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before, sent = stored(stack.warehouse_url), 0
    pid = stack.pid_of(name)
    assert pid is not None
    sent += send(stack.collector_url, 200)
    os.kill(pid, signal.SIGKILL)
    sent += send(stack.collector_url, 200)
    eventually(lambda: stack.pid_of(name) not in (None, pid))
    eventually(lambda: stored(stack.warehouse_url) == before + sent)
    assert f"{name} ended with killed by SIGKILL" in caplog.text


def test_the_watcher_and_the_api_come_back(stack: Stack) -> None:
    for name in ("watcher", "api"):
        pid = stack.pid_of(name)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        eventually(lambda name=name, pid=pid: stack.pid_of(name) not in (None, pid))  # type: ignore[misc]
    eventually(lambda: _status(f"{stack.api_url}/health/ready") == 200)


def test_a_broker_that_dies_is_replaced_with_its_topics_and_events_flow_again(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    before = stored(stack.warehouse_url)
    pids = {name: stack.pid_of(name) for name in ("broker", "collector", "worker-1")}
    assert pids["broker"] is not None
    os.kill(pids["broker"], signal.SIGKILL)
    eventually(lambda: all(stack.pid_of(name) not in (None, pid) for name, pid in pids.items()))
    sent = send(stack.collector_url, 100)
    eventually(lambda: stored(stack.warehouse_url) == before + sent)
    assert "events that were acknowledged and not yet stored are lost" in caplog.text


def test_the_brokers_memory_is_bounded_and_renewing_it_loses_nothing(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before, sent = stored(stack.warehouse_url), 0
    deadline = time.monotonic() + 120
    while "draining it and starting a fresh one" not in caplog.text:
        assert time.monotonic() < deadline
        sent += send(stack.collector_url, 200, padding=2000)
    sent += send(stack.collector_url, 500)
    eventually(lambda: stored(stack.warehouse_url) == before + sent)
    assert "are lost" not in caplog.text


def test_the_ledger_balances_after_all_that(stack: Stack) -> None:
    request = urllib.request.Request(
        f"{stack.api_url}/api/v1/analytics/pipeline", headers={"Authorization": f"Bearer {DEV_SECRET_KEY}"}
    )

    def balanced() -> bool:
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                found: dict[str, Any] = json.load(answer)
        except OSError:  # the API was started again with the broker
            return False
        whole = found["accepted"] == found["stored"] + found["duplicates"]
        return bool(whole and found["stored"] == stored(stack.warehouse_url))

    eventually(balanced)


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except OSError:
        return 0


def _wait_until_it_answers(stack: Stack) -> None:
    """The tests before may have made parts of the stack start anew."""
    eventually(lambda: _status(f"{stack.collector_url}/health/ready") == 200)


def test_a_second_stack_on_the_same_folder_or_port_is_refused(stack: Stack, tmp_path: Path) -> None:
    _wait_until_it_answers(stack)
    collector, api = free_ports(2)
    same_folder = local_settings(
        data_dir=stack.settings.data_dir, collector_port=collector, api_port=api, base=load({})
    )
    with pytest.raises(Fatal, match="in use by another headrace"):
        Stack(same_folder).start()
    taken = stack.settings.collector.port
    with pytest.raises(Fatal, match=f"collector cannot listen on 127.0.0.1:{taken}.*--collector-port"):
        Stack(local_settings(data_dir=tmp_path, collector_port=taken, api_port=api, base=load({}))).start()


def test_other_commands_find_the_running_stack(stack: Stack) -> None:
    _wait_until_it_answers(stack)
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/bin", "HEADRACE_DATA_DIR": str(stack.settings.data_dir)},
    )
    found = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert found["kafka"]["level"] == found["topics"]["level"] == found["tables"]["level"] == "ok"
    assert stack.kafka in found["kafka"]["text"]
    assert found["collector"]["level"] == "ok" and "answers" in found["collector"]["text"]


def test_the_command_says_ready_drains_on_sigterm_and_keeps_the_data(tmp_path: Path) -> None:
    collector, api = map(str, free_ports(2))
    words = ["up", "--data-dir", str(tmp_path / "data"), "--collector-port", collector, "--api-port", api]
    command = [sys.executable, "-m", "deploy.cli", *words]
    errors = (tmp_path / "errors").open("wb")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env={"PATH": "/bin"})
    try:
        assert process.stdout is not None
        line = process.stdout.readline().rstrip("\n")
        match = READY.match(line)
        assert match, (line, (tmp_path / "errors").read_text())
        sent = send(match.group(1), 2000)
        assert _status(f"{match.group(2)}/") == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        errors.close()
    again = warehouse.start_process(tmp_path / "data" / "warehouse")
    assert stored(again.url) == sent
    again.stop()


def test_a_stop_before_it_is_ready_is_quick_and_clean(tmp_path: Path) -> None:
    early = Stack(local_settings(data_dir=tmp_path, collector_port=0, api_port=0, base=load({})))
    early.start()
    threading.Timer(0.5, early.request_stop).start()
    began = time.monotonic()
    with pytest.raises(Fatal, match="stopped before it was ready"):
        early.wait_ready()
    assert time.monotonic() - began < 20
    early.stop()
