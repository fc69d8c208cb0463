"""Children: started, described when they end, started again, stopped in time, gone with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.embedded.process import describe_exit, free_ports, spawn, tail
from deploy.supervise import LOG_BYTES, Child, Spec, stop_all, wait_before
from schemas.clock import ManualClock, SystemClock

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def child(tmp_path: Path, code: str, clock: object = None, grace: float = 5.0) -> Child:
    spec = Spec("c", (sys.executable, "-c", code), dict(os.environ), tmp_path / "c.log", lambda: True, grace)
    return Child(spec, clock or SystemClock())  # type: ignore[arg-type]


def eventually(holds: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_death_is_told_with_its_reason_and_the_last_lines(tmp_path: Path) -> None:
    dying = child(tmp_path, "import sys; print('before'); sys.exit('the disk is full')")
    dying.start()
    eventually(lambda: not dying.running)
    assert dying.ended() == "exit code 1; its last lines:\nbefore\nthe disk is full"


def test_a_signal_is_named() -> None:
    assert describe_exit(-9) == "killed by SIGKILL"
    assert describe_exit(-250) == "killed by signal 250"
    assert describe_exit(3) == "exit code 3"


def test_waits_grow_and_are_bounded() -> None:
    assert [wait_before(n) for n in (0, 1, 2, 10, 500)] == [0.5, 1.0, 2.0, 30.0, 30.0]


def test_a_child_is_started_again_when_its_wait_is_over_and_sooner_after_a_steady_time(tmp_path: Path) -> None:
    clock = ManualClock()
    dying = child(tmp_path, "pass", clock)
    waits = []
    for _ in range(3):
        dying.start()
        eventually(lambda: not dying.running)
        waits.append(dying.plan_restart())
        assert not dying.start_if_due()
        clock.advance(waits[-1])
    assert waits == [0.5, 1.0, 2.0]
    assert dying.start_if_due()
    eventually(lambda: not dying.running)
    clock.advance(61)
    assert dying.plan_restart() == 0.5


def test_stopping_asks_first_and_then_kills(tmp_path: Path) -> None:
    stubborn = child(tmp_path, STUBBORN, grace=0.2)
    stubborn.start()
    eventually(lambda: "up" in tail(stubborn.spec.log_path))
    began = time.monotonic()
    stop_all([stubborn], SystemClock(), impatient=lambda: False)
    assert time.monotonic() - began < 3
    assert not stubborn.running
    assert stubborn.ended() == ""


def test_impatience_ends_the_wait(tmp_path: Path) -> None:
    stubborn = child(tmp_path, STUBBORN, grace=60)
    stubborn.start()
    eventually(lambda: "up" in tail(stubborn.spec.log_path))
    began = time.monotonic()
    stop_all([stubborn], SystemClock(), impatient=lambda: True)
    assert time.monotonic() - began < 3


def test_a_log_is_cut_when_it_has_grown(tmp_path: Path) -> None:
    quiet = child(tmp_path, "pass")
    quiet.spec.log_path.write_bytes(b"old line\n" * (LOG_BYTES // 9 + 1000) + b"newest\n")
    quiet.trim_log()
    kept = quiet.spec.log_path.read_bytes()
    assert len(kept) <= LOG_BYTES // 2
    assert kept.startswith(b"old line\n") and kept.endswith(b"newest\n")


def test_terminal_codes_are_left_out_of_a_tail(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\x1b[?25h\x1b[31mred\x1b[0m \xff\n\n")
    assert tail(log) == "red \ufffd"
    assert tail(tmp_path / "none") == ""


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux only")
def test_children_die_with_their_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from deploy.embedded.process import spawn\n"
        "child = spawn([sys.executable, '-c', 'import time; time.sleep(60)'], None)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    eventually(lambda: b"ctypes" not in Path(f"/proc/{pid}/cmdline").read_bytes())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: _gone(pid))


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_the_child_has_its_own_session_so_that_ctrl_c_reaches_the_parent_only() -> None:
    process = spawn([sys.executable, "-c", "import time; time.sleep(60)"], None)
    try:
        assert os.getsid(process.pid) == process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_free_port_is_given_once() -> None:
    """Nobody listens on any of them yet: of 500 out of 12,000 ports some would come twice."""
    assert len({free_ports(1)[0] for _ in range(500)}) == 500
