"""Time and chance, passed in as arguments; the only module that reads the system clock or unseeded randomness."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """Where a component gets the time from. Tests pass a `ManualClock`."""

    def now(self) -> float:
        """Unix seconds, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; for durations and deadlines."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block this thread for `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told; `sleep` moves it."""

    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds

    def advance(self, seconds: float) -> None:
        """Move the clock forward (or back, with a negative number)."""
        self._now += seconds


def random_id() -> str:
    """A fresh UUID (version 4) as text, for things that need a name and have no natural one."""
    return str(uuid.uuid4())


def random_u32() -> int:
    """32 unpredictable bits, for naming one incarnation of a process."""
    return secrets.randbits(32)
