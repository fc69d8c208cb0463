"""Progress of long work, for whoever waits at a terminal or reads a log."""

from __future__ import annotations

import sys

from schemas.clock import SystemClock


class Meter:
    """Progress on standard error: a line that is written over on a terminal, one every 5 seconds elsewhere."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._begin = self._next = self._clock.monotonic()
        self._terminal = sys.stderr.isatty()

    def __call__(self, what: str, done: int, total: int) -> None:
        if not total:
            sys.stderr.write(f"\r{what}\x1b[K\n" if self._terminal else f"{what}\n")
            return
        now = self._clock.monotonic()
        if now < self._next and done < total:
            return
        self._next = now + (0.2 if self._terminal else 5.0)
        rate = done / max(0.001, now - self._begin)
        line = f"{100 * done / total:3.0f} %  {done:>12,} of {total:,} {what}  {rate:>9,.0f}/s"
        sys.stderr.write(f"\r{line}\x1b[K" if self._terminal else line + "\n")
        sys.stderr.flush()
