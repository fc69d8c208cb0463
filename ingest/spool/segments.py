"""The segment files of a spool: found again after a crash, written at their end, deleted when Kafka has them.

Knows nothing of threads; `ingest.spool.store` sees to it that one call runs at a time.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ingest.spool.frames import scan

_NAME: Final = re.compile(r"(\d{16})\.spool\Z")
log = logging.getLogger(__name__)


@dataclass
class Segment:
    """One file. `size`, `count`: bytes and records that are durable. `done`: where records begin that Kafka has.

    `first_at`: Unix seconds when its first record was spooled. `damaged`: bytes in it that are no record.
    """

    number: int
    path: Path
    size: int = 0
    count: int = 0
    first_at: float = 0.0
    damaged: int = 0
    done: set[int] = field(default_factory=set)

    @property
    def finished(self) -> bool:
        """Whether Kafka has all of it."""
        return len(self.done) == self.count

    def read(self, start: int, most: int) -> bytes:
        """Durable bytes from `start`, at most `most` (blocks)."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(min(most, self.size - start))

    def delete(self) -> None:
        """Remove the file; a damaged one is kept under another name for whoever wants to look."""
        try:
            if self.damaged:
                self.path.replace(self.path.with_suffix(".damaged"))
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            log.error("cannot remove %s, whose chunks Kafka has: %s", self.path, error)


def load(folder: Path) -> list[Segment]:
    """The segments that an earlier process left, oldest first. What a crash cut short at the end of one is cut off."""
    names = ((name, _NAME.match(name.name)) for name in folder.iterdir())
    found = [_load(path, int(match[1])) for path, match in names if match]
    for segment in (one for one in found if not one.count):
        segment.delete()
    return sorted((one for one in found if one.count), key=lambda one: one.number)


def create(folder: Path, number: int) -> tuple[Segment, int]:
    """A new segment and the handle to write it with. Raises OSError, then nothing is left of it."""
    path = folder / f"{number:016d}.spool"
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        _sync_folder(folder)
    except OSError:
        os.close(handle)
        path.unlink(missing_ok=True)
        raise
    return Segment(number, path), handle


def append(handle: int, data: bytes) -> None:
    """Write all of `data` and wait until the disk has it. Raises OSError, then any part of it may stand there."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
    os.fsync(handle)


def _load(path: Path, number: int) -> Segment:
    data = path.read_bytes()
    segment = Segment(number, path)
    for found in scan(data):
        if found.start > segment.size:
            segment.damaged += found.start - segment.size
        segment.first_at = segment.first_at or found.record.at
        segment.size = found.end
        segment.count += 1
    if segment.size < len(data):
        log.warning("%s: cutting off %d bytes that no client was told of", path, len(data) - segment.size)
        os.truncate(path, segment.size)
    if segment.damaged:
        log.error("%s: %d bytes in the middle are damaged; the other records are delivered", path, segment.damaged)
    return segment


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
