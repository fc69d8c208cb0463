"""Headrace commands as child processes that a test can kill, stop and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from deploy.embedded.process import spawn, tail

CLI = ("-m", "deploy.cli")


class HeadraceProcess:
    """`headrace WORDS`, with `environment` for its HEADRACE_ variables; `start` it as often as it ended.

    `through`: the module (and its arguments) that runs the words instead of the product's own command line. It dies
    with the thread that started it. `stopped`: whether it stands still after `pause`.
    """

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        through: Sequence[str] = CLI,
    ) -> None:
        self.words, self.environment, self.log = tuple(words), dict(environment), log
        self.through = tuple(through)
        self.stopped = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of its present life; it must have been started."""
        assert self._process is not None, f"{self.log.stem} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs (or stands still)."""
        return self._process is not None and self._process.poll() is None

    @property
    def status(self) -> int | None:
        """Exit status of its last life, -9 after SIGKILL; None while it runs or before it did."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it, and return at once."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        self.stopped = False
        self._process = spawn([sys.executable, *self.through, *self.words], self.log, {**ours, **self.environment})

    def check(self) -> None:
        """It must be running."""
        assert self.alive, f"{self.log.stem} ended with {self.status}\n{tail(self.log, 40)}"

    def kill(self) -> None:
        """SIGKILL, and gone when this returns; it must have been running."""
        self.check()
        assert self._process is not None
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL

    def wait_gone(self, timeout: float) -> bool:
        """Whether it ended by itself within `timeout` seconds."""
        assert self._process is not None
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for it to end by itself; the exit status."""
        assert self._process is not None
        return self._process.wait(timeout)

    def term(self, timeout: float = 60.0) -> float:
        """SIGTERM, as soon as it heeds one; seconds until it was gone. It must leave with status 0."""
        self.check()
        assert self._process is not None
        deadline = time.monotonic() + timeout
        while not self.heeds_sigterm() and time.monotonic() < deadline:
            time.sleep(0.05)
        began = time.monotonic()
        self._process.terminate()
        status = self._process.wait(timeout)
        assert status == 0, f"{self.log.stem} left with {status}\n{tail(self.log, 40)}"
        return time.monotonic() - began

    def heeds_sigterm(self) -> bool:
        """Whether it has a handler for SIGTERM by now; before, it would just end, with nothing begun."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
        return bool(int(caught, 16) >> signal.SIGTERM - 1 & 1)

    def pause(self) -> None:
        """SIGSTOP: it stands still, and the others see a machine that hangs."""
        os.kill(self.pid, signal.SIGSTOP)
        self.stopped = True

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)
        self.stopped = False

    def rss(self) -> int:
        """Resident memory, bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
