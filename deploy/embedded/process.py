"""Child processes that die with their parent, and waiting until they answer."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas.clock import Clock, SystemClock, random_u32
from schemas.errors import Fatal

_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LOWEST_PORT: Final = 20_000
_PORT_COUNT: Final = 12_000
_given: Final = deque[int](maxlen=1_000)
_LAUNCH: Final = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9)\n"  # PR_SET_PDEATHSIG, SIGKILL; it survives exec
    "os.getppid() == int(sys.argv[1]) or sys.exit('the parent is gone')\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)
"""Ties a process to its parent and becomes the command; a launcher, because code between fork and exec is not safe."""


def free_port(host: str = "127.0.0.1") -> int:
    """A loopback port that nobody uses at this moment."""
    return free_ports(1, host)[0]


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Different loopback ports that nobody uses at this moment, below those that the kernel gives to clients.

    The last thousand that this process was given are left out: who asked for one may not listen on it yet.
    """
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = _LOWEST_PORT + random_u32() % _PORT_COUNT
            if port in _given:
                continue
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((host, port))
                ports.append(port)
                _given.append(port)
        return ports


def spawn(
    command: Sequence[str], log_path: Path | None, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` in its own session, its output appended to `log_path` (None: discarded).

    It is killed when the calling *thread* ends, so call from a thread that lives as long as the child should.
    `env` is the whole environment; None passes ours on.
    """
    if sys.platform == "linux":
        command = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *command]
    with open(log_path or os.devnull, "ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=env,
        )


def tail(path: Path | None, lines: int = 12, size: int = 8192) -> str:
    """The last lines of a log, or "" when there is none."""
    if path is None or not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - size))
        text = _ANSI.sub("", file.read().decode("utf-8", "replace"))
    return "\n".join(line for line in text.splitlines()[-lines:] if line.strip())


def describe_exit(code: int) -> str:
    """`exit code 3`, or `killed by SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], log_path: Path | None, timeout: float, clock: Clock
) -> None:
    """Poll `ready` every 20 ms until it holds. Raises Fatal, with the end of the log, on death or timeout."""
    deadline = clock.monotonic() + timeout
    while not ready():
        if process.poll() is not None:
            raise Fatal(f"{_name(process)} ended with {describe_exit(process.returncode)}\n{tail(log_path)}")
        if clock.monotonic() > deadline:
            raise Fatal(f"{_name(process)} did not answer within {timeout:.0f} s\n{tail(log_path)}")
        clock.sleep(0.02)


def _name(process: subprocess.Popen[bytes]) -> str:
    parts = [str(part) for part in process.args] if isinstance(process.args, list) else [str(process.args)]
    return " ".join(part for part in parts if part.startswith(("deploy.", "/")) and part != sys.executable)[:120]


@dataclass
class ServerHandle:
    """A server that `start_process` started. `url`: where it answers."""

    process: subprocess.Popen[bytes]
    url: str
    port: int
    log_path: Path | None = None
    clock: Clock = field(default_factory=SystemClock)

    def stop(self, grace: float = 20.0) -> int:
        """SIGTERM, wait up to `grace` seconds, then SIGKILL; the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def kill(self) -> None:
        """SIGKILL at once: a crash, for tests."""
        self.process.kill()
        self.process.wait()
