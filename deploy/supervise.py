"""One child process: start it, ask whether it is healthy, say why it ended, start it again later and later."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.embedded.process import describe_exit, spawn, tail
from schemas.clock import Clock

log = logging.getLogger("headrace.up")

STEADY_SECONDS: Final = 60.0
"""A child that ran this long starts with the shortest wait again."""
LOG_BYTES: Final = 32 << 20
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 30.0


@dataclass(frozen=True)
class Spec:
    """What to run. `healthy` answers at once and never raises; `grace`: seconds between SIGTERM and SIGKILL."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log_path: Path
    healthy: Callable[[], bool]
    grace: float = 20.0


def wait_before(restart: int) -> float:
    """Seconds to wait before restart number `restart` (from 0): 0.5 doubling up to 30."""
    return min(_FIRST_WAIT * 2.0**restart, _LONGEST_WAIT)


class Child:
    """One supervised process. All calls come from the same, long-lived thread (the child dies with it)."""

    def __init__(self, spec: Spec, clock: Clock) -> None:
        self.spec = spec
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failures = 0
        self._due: float | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; the output is appended to its log, which is cut when it has grown."""
        self.trim_log()
        self._process = spawn(self.spec.command, self.spec.log_path, dict(self.spec.environment))
        self._started, self._due = self._clock.monotonic(), None

    def ended(self) -> str:
        """Why it ended, with the end of its log; "" while it runs or when it was stopped on purpose."""
        if self._process is None or self._process.poll() is None:
            return ""
        lines = tail(self.spec.log_path)
        return describe_exit(self._process.returncode) + (f"; its last lines:\n{lines}" if lines else "")

    def plan_restart(self) -> float:
        """Plan the next start after an unexpected end; seconds until then."""
        if self._clock.monotonic() - self._started > STEADY_SECONDS:
            self._failures = 0
        seconds = wait_before(self._failures)
        self._failures += 1
        self._process, self._due = None, self._clock.monotonic() + seconds
        return seconds

    def start_if_due(self) -> bool:
        """Start it when the planned moment has come."""
        if self._due is None or self._clock.monotonic() < self._due:
            return False
        self.start()
        return True

    def terminate(self) -> None:
        """Ask it to end (SIGTERM) and do not start it again."""
        self._due = None
        if self.running and self._process:
            self._process.terminate()

    def kill(self) -> None:
        """End it now (SIGKILL) and do not start it again."""
        self._due = None
        if self.running and self._process:
            self._process.kill()
        self.forget()

    def forget(self) -> None:
        """Wait for the end and drop the process, so that it counts as stopped on purpose."""
        if self._process is not None:
            self._process.wait()
            self._process = None

    def trim_log(self) -> None:
        """Keep the log under a bound: over it, the older half is dropped."""
        path = self.spec.log_path
        if path.exists() and path.stat().st_size > LOG_BYTES:
            with path.open("rb+") as file:
                file.seek(-LOG_BYTES // 2, 2)
                kept = file.read()
                file.seek(0)
                file.write(kept[kept.find(b"\n") + 1 :])
                file.truncate()


def stop_all(children: Sequence[Child], clock: Clock, *, impatient: Callable[[], bool], grace: float = 0.0) -> None:
    """SIGTERM to all at once, wait for each, SIGKILL after its grace (or `grace`, if given) or when `impatient`."""
    began = clock.monotonic()
    for child in children:
        child.terminate()
    for child in children:
        patience = grace or child.spec.grace
        while child.running and not impatient() and clock.monotonic() - began < patience:
            clock.sleep(0.02)
        if child.running:
            log.warning("%s did not end within %.0f s; killed", child.name, clock.monotonic() - began)
            child.kill()
        child.forget()
