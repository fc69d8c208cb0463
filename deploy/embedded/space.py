"""The room on the warehouse's disk, and what is done when there is hardly any.

The engine does not say so when a file could not be written whole: an insert or a merge that meets a full disk leaves a
part of empty files, and an answer of success. So inserts are refused and merges stopped while there is still room for
what runs (`HEADROOM`); and for as long as there is hardly any, each part is looked at as soon as it is written, because
what had begun before ends late. A damaged part ends the process, before anybody is told that it is stored: the engine
sets damaged parts aside when it opens the directory, and takes back the parts that a damaged one was merged from, which
it has not removed yet (`old_parts_lifetime`). It is opened when there is room again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from schemas.clock import Clock, SystemClock

if TYPE_CHECKING:
    from deploy.embedded.engine import Engine, Part

log = logging.getLogger("headrace.warehouse")

HEADROOM: Final = 48 << 20
"""Bytes of free space below which nothing new is written: several times what running statements may still write."""

DAMAGED: Final = 74
"""The exit status after damage (EX_IOERR of sysexits.h)."""

_LOOK_BACK: Final = 10.0
"""Seconds before the disk was found low in which a part may have been damaged already."""

_TICK: Final = 0.25


def free_bytes(folder: Path) -> int:
    """What a process may still write on the disk of a folder."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def wait_for_room(folder: Path, clock: Clock, every: float = 1.0) -> None:
    """Wait until there is room on the disk of a folder, and say so."""
    if free_bytes(folder) < HEADROOM:
        log.error(
            "the disk of %s is full: %d MiB free, %d needed; the warehouse opens when there is room",
            *(folder, free_bytes(folder) >> 20, HEADROOM >> 20),
        )
    while free_bytes(folder) < HEADROOM:
        clock.sleep(every)


class Space:
    """Watches the disk of an open engine from a thread of its own, until `close`."""

    def __init__(self, engine: Engine, folder: Path, *, end: Callable[[int], None] = os._exit) -> None:
        """`end`: how the process ends when a part is damaged."""
        self._engine, self._folder, self._end = engine, folder, end
        self._clock = SystemClock()  # the times of files are the machine's
        self._merging = True
        self._lock = threading.Lock()
        self._roomy_at = self._clock.now()
        self._whole: set[Part] = set()
        """Parts that were looked at since there was room."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="space", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stopping.set()
        self._thread.join()

    def after_write(self) -> None:
        """Before an insert is answered: was there room for all of it? Ends the process when it was damaged."""
        if free_bytes(self._folder) < HEADROOM:
            self._look()

    def _watch(self) -> None:
        while not self._stopping.wait(_TICK):
            try:
                self._tick()
            except Exception:
                log.exception("the room on the disk could not be looked at")

    def _tick(self) -> None:
        if free_bytes(self._folder) >= HEADROOM:
            if not self._merging:
                self._look()
                self._engine.command("SYSTEM START MERGES")
                self._merging = True
                log.info("there is room again")
            self._roomy_at = self._clock.now()
            self._whole.clear()
            return
        if self._merging:
            log.error("the disk of %s is nearly full: inserts are refused, nothing is merged", self._folder)
            self._engine.command("SYSTEM STOP MERGES")
            self._merging = False
        self._look()

    def _look(self) -> None:
        with self._lock:
            written = {*self._engine.parts_since(int(self._roomy_at - _LOOK_BACK))} - self._whole
            damaged = [f"{part.database}.{part.table} {part.name}" for part in written if self._engine.is_damaged(part)]
            self._whole |= written
            if damaged:
                log.critical("the disk was full while %s was written; ending, to open without", ", ".join(damaged))
                self._end(DAMAGED)
