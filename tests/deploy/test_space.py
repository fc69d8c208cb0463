"""A disk that fills up under the embedded warehouse beside inserts and merges: what was acknowledged can be read."""

from __future__ import annotations

import http.client
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded import warehouse
from deploy.embedded.process import ServerHandle
from deploy.embedded.space import DAMAGED, HEADROOM, wait_for_room
from schemas.clock import ManualClock
from tests.e2e.doors import eventually
from tests.faults.disks import Disk, small_disk

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("door")]

COLUMNS = 12
ROWS = 200


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", 160) as small:
        yield small


class Server:
    """A warehouse that is started again whenever it ends, as a supervisor does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ends: list[int] = []
        self._handle = self._start()

    def _start(self) -> ServerHandle:
        return warehouse.start_process(self._folder / "data", log_path=self._folder.parent / "warehouse.log")

    def ask(self, statement: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and answer; 0 when nobody answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self._handle.port, timeout=30)
        try:
            connection.request("POST", "/", statement.encode() + b"\n" + body)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def supervise(self) -> None:
        """Start it again when it has ended; call with room on the disk."""
        if self._handle.process.poll() is not None:
            self.ends.append(self._handle.process.returncode)
            self._handle = self._start()

    def stop(self) -> None:
        self._handle.stop()


def test_what_was_acknowledged_beside_a_disk_that_fills_up_can_be_read(disk: Disk) -> None:
    server = Server(disk.path)
    try:
        columns = ", ".join(f"c{number} String" for number in range(COLUMNS))
        assert server.ask(f"CREATE TABLE t (id UInt64, {columns}) ENGINE = ReplacingMergeTree ORDER BY id")[0] == 200
        acknowledged: set[int] = set()
        refused: list[bytes] = []
        for round_number in range(6):
            stopping = threading.Event()
            writers = [
                threading.Thread(target=_insert, args=(server, round_number * 8 + n, stopping, acknowledged, refused))
                for n in range(3)
            ]
            for writer in writers:
                writer.start()
            time.sleep(0.4)
            _fill_bit_by_bit(disk, round_number)
            stopping.set()
            for writer in writers:
                writer.join()
            disk.give_back()
            server.supervise()
        status, found = server.ask("SELECT DISTINCT intDiv(id, 1000) FROM t WHERE NOT ignore(*) FORMAT TSV")
        assert status == 200, found
        assert acknowledged <= {int(line) for line in found.split()}
        assert len(acknowledged) > 20
        assert any(b"Code: 243" in answer for answer in refused), "the disk was never full for an insert"
        assert {*server.ends} <= {DAMAGED}
    finally:
        server.stop()


def test_a_damaged_part_ends_the_process(tmp_path: Path) -> None:
    """Files that a full disk left empty, as an engine of its own process finds them."""
    program = """
import sys, threading
from pathlib import Path
from deploy.embedded.engine import Engine
from deploy.embedded.space import Space
engine = Engine(Path(sys.argv[1]), memory_bytes=1 << 29)
for name in "ab":
    engine.command(f"CREATE TABLE default.{name} (id UInt64) ENGINE = MergeTree ORDER BY id")
    engine.command(f"INSERT INTO default.{name} VALUES (1)")
assert not any(engine.is_damaged(part) for part in engine.parts_since(0))
((path,),) = engine.command("SELECT path FROM system.parts WHERE active AND table = 'b'")
for file in Path(path).iterdir():
    file.write_bytes(b"")
assert [part for part in engine.parts_since(0) if engine.is_damaged(part)] == [("default", "b", "all_1_1_0")]
ended = []
Space(engine, Path("/proc"), end=ended.append).after_write()  # a disk without any room
print(*ended)
engine.close()
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "data")], capture_output=True, check=False)
    assert (done.returncode, done.stdout.split()[:1]) == (0, [b"%d" % DAMAGED]), done.stderr.decode()


def test_what_ends_late_on_a_low_disk_is_looked_at_while_its_sources_lie_there(tmp_path: Path) -> None:
    """A merge that had begun before: its result is damaged when the disk has been low for seconds."""
    program = """
import sys, threading, time
from pathlib import Path
from deploy.embedded.engine import Engine
from deploy.embedded.space import Space
engine = Engine(Path(sys.argv[1]), memory_bytes=1 << 29)
engine.command("CREATE TABLE default.t (id UInt64) ENGINE = MergeTree ORDER BY id")
found, ended = threading.Event(), []
space = Space(engine, Path("/proc"), end=lambda status: (ended.append(status), found.set()))  # a disk without any room
time.sleep(6)  # longer than the engine waits before it looks for outdated parts again
engine.command("SYSTEM START MERGES")
with space._lock:
    for number in range(2):
        engine.command(f"INSERT INTO default.t VALUES ({number})")
    engine.command("OPTIMIZE TABLE default.t FINAL")
    ((path,),) = engine.command("SELECT path FROM system.parts WHERE active AND table = 't'")
    for file in Path(path).iterdir():
        file.write_bytes(b"")
found.wait(20)
ids = engine.command("SELECT count() FROM system.parts WHERE NOT active AND table = 't' AND rows = 1")
print(*ended[:1], *ids[0], flush=True)
engine.close()
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "data")], capture_output=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, [b"%d" % DAMAGED, b"2"]), done.stderr.decode()


def test_inserts_are_taken_again_when_there_is_room(disk: Disk) -> None:
    server = Server(disk.path)
    try:
        server.ask("CREATE TABLE t (id UInt64) ENGINE = ReplacingMergeTree ORDER BY id")
        disk.fill(keep=HEADROOM // 2)
        status, answer = server.ask("INSERT INTO t FORMAT TSV", b"1\n")
        assert (status, b"Code: 243" in answer) == (500, True), answer
        assert server.ask("SELECT count() FROM t")[1] == b"0\n"
        disk.give_back()
        assert eventually(lambda: server.ask("INSERT INTO t FORMAT TSV", b"1\n")[0], lambda it: it == 200, within=10)
        assert server.ends == []
    finally:
        server.stop()


def test_it_opens_when_there_is_room(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    disk.fill()

    class Operator(ManualClock):
        """Makes room after a while."""

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.now() > start + 30:
                disk.give_back()

    clock = Operator()
    start = clock.now()
    wait_for_room(disk.path, clock)
    assert clock.now() > start + 30
    assert "0 MiB free, 48 needed" in caplog.text


def _insert(server: Server, seed: int, stopping: threading.Event, acknowledged: set[int], refused: list[bytes]) -> None:
    """Rows of random text, in inserts one after another."""
    rng, number = random.Random(seed), seed * 1000
    while not stopping.is_set():
        number += 1
        rows = (
            b"\t".join((b"%d" % (number * 1000 + row), *(b"%x" % rng.getrandbits(200) for _ in range(COLUMNS))))
            for row in range(ROWS)
        )
        status, answer = server.ask("INSERT INTO t FORMAT TSV", b"\n".join(rows) + b"\n")
        if status == 200:
            acknowledged.add(number)
        else:
            refused.append(answer)
            time.sleep(0.01)


def _fill_bit_by_bit(disk: Disk, seed: int) -> None:
    """The last bytes go while things are written: gaps of some kilobytes come and go for two seconds."""
    rng, deadline = random.Random(seed), time.monotonic() + 2.0
    while time.monotonic() < deadline:
        disk.fill(keep=rng.randrange(0, 300_000))
        time.sleep(rng.random() * 0.004)
