"""The spool: records on disk until Kafka has them. A thread writes and fsyncs; many records share one fsync.

Reads and writes: the segment files of one folder, which belongs to one process (a lock holds it). Guarantee: a record
whose `done` was called with "" survives `kill -9` and a power failure, and is removed only after `acknowledged`; after
a crash records may be read again that Kafka has already (they keep their chunk ids, so they count once). On failure
(disk full, I/O error) `done` says why, what was half written is taken back, and after a second it is tried again.
Bounded: past `bytes` on disk `offer` raises `Retryable`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from ingest.settings import SpoolSettings
from ingest.spool import segments
from ingest.spool.frames import MOST_BYTES, SpoolRecord, pack, scan
from ingest.spool.segments import Segment
from schemas.clock import Clock
from schemas.errors import Fatal, Retryable

Done = Callable[[str], None]
"""Called once for each record: "" when it is on disk, else why not."""
Later = Callable[[Callable[[], None]], object]
"""Runs a call on the owner's thread (`loop.call_soon_threadsafe`)."""

_PAUSE_SECONDS: Final = 1.0
_FRAME_BYTES: Final = 256
"""What a record needs on disk besides value and headers, about."""
_log = logging.getLogger(__name__)


class Waiting(NamedTuple):
    """A record that Kafka does not have yet, and its place: segment and first byte."""

    segment: int
    start: int
    record: SpoolRecord


class Place(NamedTuple):
    """Where reading goes on."""

    segment: int = 0
    start: int = 0


class Spool:
    """`offer`, `acknowledged` and the figures: from the owner's thread. `read`: from any one thread."""

    def __init__(self, folder: Path, settings: SpoolSettings, clock: Clock) -> None:
        """Take the folder and find what is in it. Raises Fatal when another process has it, or it cannot be used."""
        self._folder, self._settings, self._clock = folder, settings, clock
        self._lock_handle = _take(folder)
        self._wake = threading.Condition()
        found = segments.load(folder)
        self._segments = {one.number: one for one in found}
        self._number = found[-1].number if found else 0
        self._current: tuple[Segment, int] | None = None
        self._queue: list[tuple[SpoolRecord, Done]] = []
        self._queued = self._unwritten = 0
        self._refuse_until = float("-inf")
        self._closing = False
        self._later: Later = lambda call: call()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self.problem = ""

    def start(self, later: Later) -> None:
        """Begin to write. `later` brings the `done` calls to the owner's thread."""
        self._later = later
        self._thread.start()

    @property
    def chunks(self) -> int:
        """Records that Kafka does not have, those on their way to the disk included."""
        with self._wake:
            return self._unwritten + sum(one.count - len(one.done) for one in self._segments.values())

    @property
    def bytes(self) -> int:
        """Bytes on disk and on their way there."""
        with self._wake:
            return self._queued + sum(one.size for one in self._segments.values())

    @property
    def oldest_at(self) -> float | None:
        """When the oldest segment that waits was begun, Unix seconds; None when nothing waits."""
        with self._wake:
            return min((one.first_at for one in self._segments.values() if not one.finished), default=None)

    def refuses(self) -> str:
        """Why it takes nothing at this moment; "" when it does."""
        if self.problem and self._clock.monotonic() < self._refuse_until:
            return self.problem
        if self.bytes >= self._settings.bytes:
            return f"the spool is full ({self._settings.bytes} bytes)"
        return ""

    def offer(self, record: SpoolRecord, done: Done) -> None:
        """Have a record written. Raises Retryable when the spool takes nothing."""
        why = self.refuses()
        if why:
            raise Retryable(why)
        size = _size(record)
        with self._wake:
            self._queue.append((record, done))
            self._queued += size
            self._unwritten += 1
            self._wake.notify()

    def read(self, place: Place, most: int) -> tuple[list[Waiting], Place]:
        """Records from `place` on that Kafka does not have, about `most` bytes, and where to go on (blocks)."""
        found: list[Waiting] = []
        while True:
            with self._wake:
                ahead = (one for one in self._segments.values() if (one.number, one.size) > place)
                segment = min(ahead, key=lambda one: one.number, default=None)
            if segment is None:
                return found, place
            start = place.start if segment.number == place.segment else 0
            data = segment.read(start, most) if start < segment.size else b""
            read = list(scan(data))
            if not read and len(data) == most < MOST_BYTES:
                read = list(scan(segment.read(start, MOST_BYTES)))
            for one in read:
                if start + one.start not in segment.done:
                    found.append(Waiting(segment.number, start + one.start, one.record))
            place = Place(segment.number, start + read[-1].end if read else segment.size)
            if found:
                return found, place

    def acknowledged(self, one: Waiting) -> None:
        """Kafka has this record; a segment of which it has all is deleted."""
        with self._wake:
            segment = self._segments.get(one.segment)
            if segment is None:
                return
            segment.done.add(one.start)
            if not segment.finished:
                return
            if self._current is not None and self._current[0] is segment:
                self._wake.notify()  # the writer may be about to add to it
                return
            del self._segments[segment.number]
        segment.delete()

    def close(self) -> None:
        """Write what was offered, end the thread and give the folder back (blocks)."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._lock_handle)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._queue or self._closing or self._current_is_finished()):
                    self._wake.wait()
                batch = self._next_batch()
            if batch:
                self._write(batch)
            elif self._current_is_finished():
                self._leave_current(delete=True)
            elif self._closing:
                self._leave_current()
                return

    def _next_batch(self) -> list[tuple[SpoolRecord, Done]]:
        """What waits, in order, as much as one file holds."""
        size = count = 0
        while count < len(self._queue) and size < self._settings.segment_bytes:
            size += _size(self._queue[count][0])
            count += 1
        batch, self._queue = self._queue[:count], self._queue[count:]
        return batch

    def _write(self, batch: Sequence[tuple[SpoolRecord, Done]]) -> None:
        frames = [pack(record) for record, _ in batch]
        why = ""
        try:
            segment, handle = self._open_current()
            segments.append(handle, b"".join(frames))
        except OSError as error:
            why = self._failed(error)
        with self._wake:
            if not why:
                segment.first_at = segment.first_at or batch[0][0].at
                segment.size += sum(map(len, frames))
                segment.count += len(frames)
                self.problem = ""
            self._queued -= sum(_size(record) for record, _ in batch)
            self._unwritten -= len(batch)
        self._later(partial(_tell, batch, why))

    def _open_current(self) -> tuple[Segment, int]:
        if self._current is not None and self._current[0].size >= self._settings.segment_bytes:
            self._leave_current()
        if self._current is None:
            self._number += 1
            self._current = segments.create(self._folder, self._number)
            with self._wake:
                self._segments[self._number] = self._current[0]
        return self._current

    def _failed(self, error: OSError) -> str:
        """Take back what was half written. The file is not written to again: after a failed fsync nothing is sure."""
        if not self.problem:
            _log.error("the spool %s cannot be written: %s; refusing until it can", self._folder, error.strerror)
        if self._current is not None:
            segment, handle = self._current
            try:
                os.ftruncate(handle, segment.size)
            except OSError as second:
                _log.warning("%s keeps bytes that no client was told of: %s", segment.path, second.strerror)
            self._leave_current()
        self.problem = f"the spool cannot be written ({error.strerror})"
        self._refuse_until = self._clock.monotonic() + _PAUSE_SECONDS
        return self.problem

    def _current_is_finished(self) -> bool:
        return self._current is not None and self._current[0].count > 0 and self._current[0].finished

    def _leave_current(self, *, delete: bool = False) -> None:
        """Write no more to the current segment; delete it if Kafka has all of it, or it is empty."""
        if self._current is None:
            return
        segment, handle = self._current
        os.close(handle)
        with self._wake:
            self._current = None
            gone = delete or segment.finished
            if gone:
                self._segments.pop(segment.number, None)
        if gone:
            segment.delete()


def _tell(batch: Sequence[tuple[SpoolRecord, Done]], why: str) -> None:
    for _, done in batch:
        done(why)


def _size(record: SpoolRecord) -> int:
    return len(record.value) + sum(len(name) + len(value) for name, value in record.headers) + _FRAME_BYTES


def _take(folder: Path) -> int:
    """Make the folder if need be and lock it for this process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Fatal(f"the spool folder {folder} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise Fatal(f"the spool folder {folder} belongs to another collector; give each one its own") from error
    return handle
