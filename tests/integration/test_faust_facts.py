"""What we rely on in Faust, and in how we use it. A new version of Faust, aiokafka or mode has to pass this first."""

from __future__ import annotations

import base64
import itertools
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from deploy.embedded import warehouse
from deploy.embedded.process import spawn, tail
from deploy.kafka_admin import create_topics
from deploy.parts import group_of
from schemas.topics import EVENTS, LEDGER, REJECTED, Topic
from sinks.warehouse import Warehouse
from stream_processors.faust_app import EXIT_UNEXPECTED
from stream_processors.ports import Record
from stream_processors.watchdog import EXIT_STUCK
from tests.e2e.doors import eventually
from tests.e2e.up import ROOT, clean
from tests.integration.servers import Stored, WorkerProcess, committed, prepare, produce, wait_until_read
from tests.integration.traffic import chunks, lines, records
from tests.kafka_servers import KafkaServer

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faust")]

PINNED = ("faust-streaming", "aiokafka", "mode-streaming")
_numbers = itertools.count(1)


class Child:
    """`faust_child` on a topic of its own."""

    def __init__(self, kafka: KafkaServer, folder: Path) -> None:
        self.topic = f"facts-{next(_numbers)}"
        self._kafka, self._folder = kafka.url, folder
        self._process: subprocess.Popen[bytes] | None = None
        create_topics(kafka.url, [Topic(self.topic, 1)], replication=kafka.replication)

    def send(self, *values: bytes) -> None:
        produce(self._kafka, self.topic, [Record(0, 0, value, {}) for value in values])

    def start(self, what: str) -> None:
        command = [
            sys.executable,
            "-m",
            "tests.integration.faust_child",
            what,
            self._kafka,
            self.topic,
            str(self._file),
        ]
        self._process = spawn(["/usr/bin/env", "-C", str(ROOT), *command], self._log, clean())

    def seen(self) -> list[bytes]:
        return self._file.read_bytes().splitlines() if self._file.exists() else []

    def acknowledged(self) -> int:
        return committed(self._kafka, f"{self.topic}-events", self.topic, 1)[0]

    def wait(self) -> int:
        """Its exit status, once it ended by itself."""
        assert self._process is not None
        return self._process.wait(60)

    def terminate(self) -> None:
        assert self._process is not None
        self._process.terminate()

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            assert self._process.wait() == -signal.SIGKILL

    def forget(self) -> None:
        self._file.unlink()

    @property
    def log(self) -> str:
        return tail(self._log, 40)

    @property
    def _file(self) -> Path:
        return self._folder / "seen"

    @property
    def _log(self) -> Path:
        return self._folder / "log"


@pytest.fixture
def child(kafka: KafkaServer, tmp_path: Path) -> Iterator[Child]:
    one = Child(kafka, tmp_path)
    yield one
    one.kill()


def test_what_was_handled_and_not_acknowledged_comes_back_after_a_kill(child: Child) -> None:
    values = [b"%d" % number for number in range(25)]
    child.send(*values)
    child.start("hold")
    eventually(child.seen)
    time.sleep(2)  # four times the interval in which Faust commits what is acknowledged
    held = child.seen()
    assert held == values[: len(held)]
    assert child.acknowledged() == 0
    child.kill()
    child.forget()
    child.start("store")
    eventually(child.seen, lambda seen: len(seen) >= len(values))
    assert child.seen() == values
    eventually(child.acknowledged, lambda offset: offset == len(values))


@pytest.mark.parametrize("what", ["handle fails", "store fails", "timer fails"])
def test_an_unexpected_exception_ends_the_process_and_acknowledges_nothing(child: Child, what: str) -> None:
    child.send(b"before")
    child.start(what)
    eventually(child.acknowledged, lambda offset: offset == 1)
    child.send(b"boom", b"after")
    assert child.wait() == EXIT_UNEXPECTED == 70, child.log
    assert "nothing was acknowledged" in child.log
    assert child.acknowledged() == 1
    assert b"boom" not in child.seen()
    if what == "store fails":
        child.start("store")
        eventually(child.seen, lambda seen: seen == [b"before", b"boom", b"after"])


def test_a_store_that_waits_for_ever_holds_up_no_stop_and_acknowledges_nothing(child: Child) -> None:
    child.send(b"one")
    child.start("hold")
    eventually(child.seen)
    child.terminate()
    assert child.wait() == 0, child.log
    assert child.acknowledged() == 0


def test_what_is_done_on_leaving_is_done_while_the_partitions_are_ours(child: Child, kafka: KafkaServer) -> None:
    """A flush after it could stand above what the next owner writes."""
    if kafka.kind == "tansu":
        pytest.skip("the embedded broker still names members that have left, so it could not fail there")
    child.send(b"one")
    child.start("leaves")
    eventually(child.acknowledged, lambda offset: offset == 1)
    child.terminate()
    assert child.wait() == 0, child.log
    assert child.seen() == [b"one", b"member"]


@pytest.mark.parametrize("what", ["never acknowledges", "never fetches"])
def test_a_worker_whose_offset_stands_still_ends_itself_and_the_next_one_goes_on(child: Child, what: str) -> None:
    child.send(b"one", b"two")
    child.start(what)
    assert child.wait() == EXIT_STUCK == 73, child.log
    assert "records wait, and the acknowledged offset 0 has not moved" in child.log
    assert child.acknowledged() == 0
    child.start("store")
    eventually(child.acknowledged, lambda offset: offset == 2)


def test_the_versions_are_pinned_exactly_and_are_those_that_run() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in PINNED:
        pin = re.search(rf'"{name}==([^"]+)"', project)
        assert pin, f"{name} is not pinned exactly in pyproject.toml"
        assert version(name) == pin[1]
        for lock in ("requirements.lock", "requirements-dev.lock"):
            assert f"{name}=={pin[1]} " in (ROOT / lock).read_text(encoding="utf-8"), lock


def test_a_poison_record_becomes_a_dead_letter_and_costs_no_other(
    kafka: KafkaServer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    house = warehouse.start_process(tmp_path_factory.mktemp("facts") / "warehouse")
    settings = prepare(kafka, house, tmp_path, WORKER_GROUP="poison")
    rng = random.Random(5)
    good = records(chunks(lines(400, rng), rng, most=40))
    poison = [
        Record(0, 0, b"hello", {}),
        Record(1, 0, b"\x00\xff\xfe" * 10, good[0].headers),
        Record(2, 0, good[0].value[:-20], good[0].headers),
        Record(3, 0, good[0].value, {**good[0].headers, "chunk": b"many"}),
        Record(0, 0, good[0].value, {**good[0].headers, "counts": b'[["demo",0,"",99999]]'}),
        Record(1, 0, b"", {}),
    ]
    mixed = list(good)
    for one in poison:
        mixed.insert(rng.randrange(len(mixed)), one)
    worker = WorkerProcess(settings, tmp_path)
    try:
        produce(kafka.url, EVENTS, mixed)
        produce(kafka.url, REJECTED, [Record(0, 0, b"no dead letters", {})])
        produce(kafka.url, LEDGER, [Record(0, 0, b"no counts", {})])
        worker.start()
        wait_until_read(settings, [worker])
        store = Warehouse(settings.warehouse)
        rows = store.query("SELECT reason, encoding, original, message FROM rejected_events FINAL")
        worker.check()
        assert {(row["reason"], row["encoding"]) for row in rows} == {("unreadable_chunk", "base64")}
        kept = sorted(base64.b64decode(row["original"]) for row in rows)
        assert kept == sorted([one.value for one in poison] + [b"no dead letters"])
        assert all(row["message"] for row in rows)
        assert len(Stored(store).events()) == 400
        offsets = committed(kafka.url, group_of(settings, "events"), EVENTS)
        assert sum(offsets) == len(mixed)
        assert worker.stop() == 0
    finally:
        worker.end()
        house.stop()
