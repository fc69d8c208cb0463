"""Memory that a process gives back: glibc's allocator, told to keep large blocks apart, to let threads share what is
free, and to let go of free pages.

By default it learns from the first large block that is freed, up to 32 MiB, to put such blocks among the small ones
from then on, where the holes that they leave are not given back: a worker that merges ever longer arrays in several
threads grows for as long as it runs. With a fixed bound they are pages of their own, and gone when they are freed. Of
smaller ones each thread's arena keeps what it once needed, which nobody else can take; there is one arena instead of
eight for each core, and a process that lives for months returns free pages now and then. The embedded ClickHouse has an
allocator of its own, which is told by its environment.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from typing import Any, Final

LARGE: Final = 64 << 10
"""Bytes from which on a block has pages of its own; a page fault each 4 KiB is nothing beside what fills it."""
ARENAS: Final = 1
"""Of all threads together. They seldom wait for each other: the interpreter lets one run at a time."""
TRIM_SECONDS: Final = 60.0
ENGINE_MS: Final = 100
"""Until what the engine frees goes back. Merges free most and never rest: in its own five seconds, a fifth of all."""
ENGINE_CACHED: Final = 1_024
"""Bytes up to which each thread of the engine keeps freed blocks for itself, where nobody else can take them. Larger
ones are of columns: to take one from where all threads take them costs little beside what it is filled with."""
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def give_back_large_blocks() -> bool:
    """Set the bound for this process; False where the C library is another one and nothing was done."""
    mallopt = _function("mallopt")
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, LARGE) == 1


def share_arenas() -> bool:
    """Set how many there are, before threads begin; False where the C library is another one and nothing was done."""
    mallopt = _function("mallopt")
    return mallopt is not None and mallopt(_M_ARENA_MAX, ARENAS) == 1


def keep_trimmed(every: float = TRIM_SECONDS) -> bool:
    """Return free pages of all arenas from now on, every so many seconds; False where the C library cannot."""
    trim = _function("malloc_trim")
    if trim is None:
        return False
    never = threading.Event()

    def work() -> None:
        while not never.wait(every):
            trim(0)

    threading.Thread(target=work, name="trim", daemon=True).start()
    return True


def keep_engine_trimmed() -> bool:
    """Let the embedded ClickHouse, which has an allocator of its own (jemalloc), return free pages sooner than in its
    five seconds, and its threads keep less for themselves. Call it before the engine is loaded; options that somebody
    set for it stay. False where it cannot be.
    """
    options = b"dirty_decay_ms:%d,tcache_max:%d" % (ENGINE_MS, ENGINE_CACHED)
    setenv = _function("setenv")
    return setenv is not None and setenv(b"JE_MALLOC_CONF", options, 0) == 0


def _function(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
