"""Memory is given back, whatever was freed before: measured in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading
import numpy as np
import psutil
from deploy.allocator import give_back_large_blocks

if sys.argv[1] == "bounded" and not give_back_large_blocks():
    sys.exit(3)
kept = []
everybody = threading.Barrier(8)


def work():
    np.ones(16 << 20, np.uint8)  # glibc learns that so much comes and goes
    everybody.wait()
    large = [np.ones(1 << 20, np.uint8) for _ in range(8)]
    kept.extend(bytearray(2048) for _ in range(64))  # something small above them
    del large
    everybody.wait()


before = psutil.Process().memory_info().rss
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print((psutil.Process().memory_info().rss - before) / 2**20)
"""


TRIMMED = """
import sys, threading, time
import psutil
from deploy.allocator import keep_trimmed

if sys.argv[1] == "trimmed" and not keep_trimmed(0.2):
    sys.exit(3)
kept = []


def work():
    some = [bytearray(100_000) for _ in range(600)]
    kept.append(bytearray(2_000))  # something small above them
    del some


before = psutil.Process().memory_info().rss
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
time.sleep(1)
print((psutil.Process().memory_info().rss - before) / 2**20)
"""


SHARED = """
import sys, threading
import psutil
from deploy.allocator import share_arenas

if sys.argv[1] == "shared" and not share_arenas():
    sys.exit(3)
kept = []
turns = [threading.Event() for _ in range(9)]


def work(n):
    turns[n].wait()
    some = [bytearray(100_000) for _ in range(100)]
    kept.append(bytearray(2_000))  # something small above them
    del some
    turns[n + 1].set()
    turns[8].wait()


before = psutil.Process().memory_info().rss
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for thread in threads:
    thread.start()
turns[0].set()
for thread in threads:
    thread.join()
print((psutil.Process().memory_info().rss - before) / 2**20)
"""


def test_what_one_thread_has_freed_another_one_takes() -> None:
    """Eight threads, one after the other, need 10 MB for a moment."""
    held = {mode: _held(mode, SHARED) for mode in ("shared", "default")}
    if held["shared"] is None:
        pytest.skip("the C library of this machine is not glibc")
    assert held["shared"] + 20 < held["default"], held


def test_free_pages_of_arenas_are_given_back() -> None:
    """Blocks under the bound that are freed below something that stays: the arena keeps them until it is trimmed."""
    held = {mode: _held(mode, TRIMMED) for mode in ("trimmed", "default")}
    if held["trimmed"] is None:
        pytest.skip("the C library of this machine is not glibc")
    assert held["trimmed"] + 20 < held["default"], held


def test_large_blocks_are_given_back() -> None:
    """Every thread frees large arrays under something small that stays: without the bound the holes stay resident."""
    held = {mode: _held(mode) for mode in ("bounded", "default")}
    if held["bounded"] is None:
        pytest.skip("the C library of this machine is not glibc")
    assert held["bounded"] + 20 < held["default"], held


ENGINE = """
import ctypes
from deploy.allocator import keep_engine_trimmed

keep_engine_trimmed()
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print(getenv(b"JE_MALLOC_CONF").decode())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is told what to do on Linux")
@pytest.mark.parametrize(
    ("set_before", "there"),
    [({}, "dirty_decay_ms:100,tcache_max:1024"), ({"JE_MALLOC_CONF": "x:1"}, "x:1")],
)
def test_options_that_somebody_set_for_the_engine_stay(set_before: dict[str, str], there: str) -> None:
    command = [sys.executable, "-c", ENGINE]
    done = subprocess.run(command, env=os.environ | set_before, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == there


def _held(mode: str, program: str = PROGRAM) -> float | None:
    """MiB that stay resident after blocks came and went in threads."""
    done = subprocess.run([sys.executable, "-c", program, mode], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3), done.stderr
    return None if done.returncode else float(done.stdout)
