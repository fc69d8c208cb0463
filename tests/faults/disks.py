"""Small disks that fill up: a tmpfs of a few MiB, and a file that takes what is left of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_PIECE = 1 << 20


class Disk:
    """A file system at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, keep: int = 0) -> None:
        """Take all space but `keep` bytes; again, when something gave space back meanwhile."""
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while self.free() > keep:
                file.write(bytes(min(_PIECE, self.free() - keep)))

    def give_back(self) -> None:
        """Space again, as an operator makes it."""
        self._filler.unlink(missing_ok=True)

    def free(self) -> int:
        """Bytes."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize


@contextlib.contextmanager
def small_disk(path: Path, mib: int) -> Iterator[Disk]:
    """A tmpfs of `mib` MiB on `path`; the test is skipped where this process may not mount. Always unmounted."""
    path.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "headrace-faults", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs here: {mounted.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
