"""`headrace up --broker apache`: what was acknowledged is on disk, so no death loses it, Kafka's or everybody's."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.kafka_admin import lag
from deploy.parts import CONSUMED, group_of
from deploy.settings import load
from deploy.stack import Stack, local_settings
from schemas.errors import Fatal
from tests.deploy.test_stack import eventually, send, stored
from tests.kafka_servers import need

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("up")]


def _stack(folder: Path, **more: str) -> Stack:
    base = load({f"HEADRACE_{name}": value for name, value in more.items()})
    return Stack(local_settings(data_dir=folder, collector_port=0, api_port=0, broker="apache", base=base))


def _behind(stack: Stack) -> int:
    """Records that the workers and the watcher have not acknowledged."""
    groups = {group_of(stack.settings, role): topics for role, topics in CONSUMED.items()}
    return sum(sum(lag(stack.kafka, group, topics).values()) for group, topics in groups.items())


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    need("apache", request.config)
    return tmp_path / "data"


@pytest.fixture
def stack(folder: Path) -> Iterator[Stack]:
    running = _stack(folder)
    running.start()
    try:
        running.wait_ready(120)
        yield running
    finally:
        running.stop()


def test_events_that_only_kafka_has_survive_its_death(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    worker, broker = stack.pid_of("worker-1"), stack.pid_of("broker")
    assert worker is not None and broker is not None
    os.kill(worker, signal.SIGSTOP)
    sent = send(stack.collector_url, 300)
    assert stored(stack.warehouse_url) == 0
    os.kill(broker, signal.SIGKILL)
    os.kill(worker, signal.SIGCONT)
    sent += send(stack.collector_url, 200)
    eventually(lambda: stored(stack.warehouse_url) == sent, 120)
    assert stack.pid_of("broker") not in (None, broker)
    assert "broker ended with killed by SIGKILL" in caplog.text
    assert "are lost" not in caplog.text
    # Kafka that has just started may not name every topic yet when partitions are dealt out: nobody stays without.
    eventually(lambda: _behind(stack) == 0, 40)
    assert stored(stack.warehouse_url) == sent


def test_events_that_only_kafka_has_are_stored_after_everything_was_killed(stack: Stack, folder: Path) -> None:
    worker = stack.pid_of("worker-1")
    assert worker is not None
    os.kill(worker, signal.SIGSTOP)
    sent = send(stack.collector_url, 400)
    pids = {name: stack.pid_of(name) for name in ("broker", "collector", "worker-1", "watcher", "api")}
    for pid in pids.values():
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    stack.kill()
    stack.stop()
    again = _stack(folder)
    again.start()
    try:
        again.wait_ready(120)
        eventually(lambda: stored(again.warehouse_url) == sent)
    finally:
        again.stop()


def test_a_folder_of_three_nodes_is_refused_in_words(folder: Path) -> None:
    for number in (1, 2, 3):
        (folder / "kafka" / f"node-{number}").mkdir(parents=True)
    with pytest.raises(Fatal, match=r"holds a Kafka of 3 node"):
        _stack(folder)
