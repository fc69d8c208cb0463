"""Memory that a process gives back: glibc's allocator, told to keep large blocks apart.

By default it learns from the first large block that is freed, up to 32 MiB, to put such blocks among the small ones
from then on, where the holes that they leave are not given back: a worker that merges ever longer arrays in several
threads grows for as long as it runs. With a fixed bound they are pages of their own, and gone when they are freed.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

LARGE: Final = 256 << 10
"""Bytes from which on a block has pages of its own; a page fault each 4 KiB is nothing beside what fills it."""
_M_MMAP_THRESHOLD: Final = -3


def give_back_large_blocks() -> bool:
    """Set the bound for this process; False where the C library is another one and nothing was done."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, LARGE) == 1
