"""The spool on disk: what was said to be there is there after a crash, and nothing else; full is full, and passes."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.settings import SpoolSettings
from ingest.spool import segments
from ingest.spool.frames import SpoolRecord, pack, scan
from ingest.spool.store import Place, Spool, Waiting
from schemas.clock import ManualClock
from schemas.errors import Fatal, Retryable

SMALL = SpoolSettings(bytes=1 << 20, segment_bytes=1 << 16)


def record(number: int, size: int = 500) -> SpoolRecord:
    value = random.Random(number).randbytes(size)
    return SpoolRecord("headrace.events", number % 4, 4, 1000.0 + number, [("chunk", b"%d" % number)], value)


class Writer:
    """A spool, and who waits for what it says."""

    def __init__(self, folder: Path, settings: SpoolSettings = SMALL) -> None:
        self.clock = ManualClock()
        self.spool = Spool(folder, settings, self.clock)
        self.spool.start(lambda call: call())
        self.answers: dict[int, str] = {}
        self._heard = threading.Condition()

    def write(self, *numbers: int, size: int = 500) -> list[str]:
        """Offer records and wait for what becomes of them."""
        for number in numbers:
            self.spool.offer(record(number, size), self._hear(number))
        with self._heard:
            assert self._heard.wait_for(lambda: self.answers.keys() >= set(numbers), 20)
        return [self.answers.pop(number) for number in numbers]

    def _hear(self, number: int) -> Callable[[str], None]:
        def done(error: str) -> None:
            with self._heard:
                self.answers[number] = error
                self._heard.notify()

        return done


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    one = Writer(tmp_path / "spool")
    yield one
    if one.spool._thread.is_alive():
        one.spool.close()


def read_all(spool: Spool, most: int = 4096) -> list[Waiting]:
    place, found = Place(), []
    while True:
        some, place = spool.read(place, most)
        if not some:
            return found
        found += some


def numbers(found: list[Waiting]) -> list[int]:
    for one in found:
        assert one.record == record(int(one.record.headers[0][1]), len(one.record.value))
    return [int(one.record.headers[0][1]) for one in found]


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_records_come_back_in_order_whatever_is_read_at_once(writer: Writer) -> None:
    for start in range(0, 300, 30):
        assert writer.write(*range(start, start + 30)) == [""] * 30
    for most in (100, 700, 5000, 1 << 20):
        assert numbers(read_all(writer.spool, most)) == list(range(300))
    assert writer.spool.chunks == 300
    assert len(list(writer.spool._folder.glob("*.spool"))) >= 2, "several files"


def test_a_file_goes_when_kafka_has_all_of_it_and_the_rest_stays(writer: Writer) -> None:
    for start in range(0, 300, 30):
        writer.write(*range(start, start + 30))
    found = read_all(writer.spool)
    random.Random(1).shuffle(found)
    for one in found[:250]:
        writer.spool.acknowledged(one)
    assert sorted(numbers(read_all(writer.spool))) == sorted(int(one.record.headers[0][1]) for one in found[250:])
    for one in found[250:]:
        writer.spool.acknowledged(one)
    eventually(lambda: not list(writer.spool._folder.glob("*.spool")))
    assert (writer.spool.chunks, writer.spool.bytes, writer.spool.oldest_at) == (0, 0, None)
    writer.write(7)
    assert numbers(read_all(writer.spool)) == [7]


def test_the_next_process_finds_what_was_left(writer: Writer) -> None:
    writer.write(*range(100))
    for one in read_all(writer.spool)[:10]:
        writer.spool.acknowledged(one)
    writer.spool.close()
    again = Writer(writer.spool._folder)
    assert numbers(read_all(again.spool)) == list(range(100)), "marks are in memory only; a chunk may come twice"
    assert again.spool.oldest_at == 1000.0
    again.write(100)
    assert numbers(read_all(again.spool)) == list(range(101))
    again.spool.close()


@pytest.mark.parametrize("cut", [1, 5, 17, 300, 530])
def test_a_torn_tail_is_cut_off(writer: Writer, cut: int) -> None:
    writer.write(*range(20))
    writer.spool.close()
    (path,) = writer.spool._folder.glob("*.spool")
    path.write_bytes(path.read_bytes()[:-cut])
    again = Writer(writer.spool._folder)
    assert numbers(read_all(again.spool)) == list(range(19))
    again.write(50)
    assert numbers(read_all(again.spool)) == [*range(19), 50]
    again.spool.close()


@pytest.mark.parametrize("seed", range(8))
def test_damage_costs_the_record_that_it_hit_and_the_file_is_kept(writer: Writer, seed: int) -> None:
    writer.write(*range(20))
    writer.spool.close()
    (path,) = writer.spool._folder.glob("*.spool")
    data = bytearray(path.read_bytes())
    places = [(found.start, found.end) for found in scan(bytes(data))]
    start, end = places[7]
    data[random.Random(seed).randrange(start, end)] ^= 0xFF
    path.write_bytes(data)
    again = Writer(writer.spool._folder)
    found = read_all(again.spool, 600)
    assert numbers(found) == [*range(7), *range(8, 20)]
    for one in found:
        again.spool.acknowledged(one)
    assert [one.suffix for one in again.spool._folder.iterdir() if one.name != "lock"] == [".damaged"]
    again.spool.close()


def test_a_value_that_looks_like_a_record_is_not_taken_for_one() -> None:
    inner = pack(record(1))
    outer = SpoolRecord("t", 0, 1, 0.0, [], inner * 3)
    assert [found.record for found in scan(pack(outer) + pack(record(2)))] == [outer, record(2)]


def test_past_its_bound_it_refuses_and_takes_again_when_there_is_room(writer: Writer) -> None:
    for number in range(200):
        try:
            writer.write(number, size=20_000)
        except Retryable as error:
            assert "the spool is full" in str(error)
            break
    assert number < 60
    assert writer.spool.bytes <= SMALL.bytes + 25_000
    for one in read_all(writer.spool)[:30]:
        writer.spool.acknowledged(one)
    assert writer.write(1000) == [""]


def test_two_processes_cannot_have_one_folder(writer: Writer) -> None:
    with pytest.raises(Fatal, match="belongs to another collector"):
        Spool(writer.spool._folder, SMALL, ManualClock())


def test_a_folder_that_cannot_be_made_is_fatal(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fatal, match="cannot be used"):
        Spool(tmp_path / "file" / "spool", SMALL, ManualClock())


@pytest.mark.parametrize("fault", ["write", "fsync", "create"])
def test_a_full_disk_is_refused_and_passes(writer: Writer, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Half a record is written before the disk is full; nothing of it comes back, and no answer is false."""
    writer.write(*range(5))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    real_write = os.write

    def write_half(handle: int, data: bytes) -> int:
        if len(data) < 200:
            raise full
        return real_write(handle, bytes(data)[: len(data) // 2])

    def refuse(*_: object) -> None:
        raise full

    with monkeypatch.context() as patched:
        if fault == "write":
            patched.setattr(os, "write", write_half)
        elif fault == "fsync":
            patched.setattr(os, "fsync", refuse)
        else:
            writer.spool._leave_current()
            patched.setattr(segments, "_sync_folder", refuse)
        (why,) = writer.write(5)
        assert "No space left on device" in why
        with pytest.raises(Retryable, match="No space left"):
            writer.spool.offer(record(6), lambda _: None)
        writer.clock.advance(1.1)
        assert "No space left on device" in writer.write(7)[0]
        writer.clock.advance(1.1)
    assert writer.write(8, 9) == ["", ""]
    assert not writer.spool.refuses()
    assert numbers(read_all(writer.spool)) == [0, 1, 2, 3, 4, 8, 9]
    writer.spool.close()
    again = Writer(writer.spool._folder)
    assert numbers(read_all(again.spool)) == [0, 1, 2, 3, 4, 8, 9]
    again.spool.close()


CHILD = """
import sys, threading
from pathlib import Path
from tests.ingest.test_spool_store import SMALL, record
from ingest.settings import SpoolSettings
from ingest.spool.store import Spool
from schemas.clock import SystemClock

spool = Spool(Path(sys.argv[1]), SpoolSettings(segment_bytes=1 << 16), SystemClock())
spool.start(lambda call: call())
room = threading.Semaphore(50)
for number in range(int(sys.argv[2]), 10**9):
    room.acquire()
    spool.offer(record(number, 2000), lambda error, number=number: (print(number, error, flush=True), room.release()))
"""


def test_what_was_confirmed_survives_kill_9(tmp_path: Path) -> None:
    folder, confirmed = tmp_path / "spool", []
    for start in (0, 100_000):
        command = [sys.executable, "-c", CHILD, str(folder), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(300)]
            child.kill()
            lines += child.stdout.read().splitlines(keepends=True)
        confirmed += [int(line.split()[0]) for line in lines if line.endswith("\n") and len(line.split()) == 1]
    again = Writer(folder, SpoolSettings())
    kept = numbers(read_all(again.spool))
    assert len(confirmed) >= 600
    assert kept == sorted(kept)
    assert set(confirmed) <= set(kept)
    again.spool.close()
