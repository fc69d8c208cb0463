"""From files to raw lines: plain, gzip or zstd, told by their first bytes; in blocks, so memory does not grow.

A line over `MAX_LINE` bytes is not an event: its beginning is handed on, to be rejected, and the rest is skipped.
"""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

import zstandard

from schemas.errors import ConfigError

BLOCK: Final = 1 << 20
MAX_LINE: Final = 1 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Progress:
    """How far a file is read. `size` and `done` in bytes as stored (compressed); `size` 0 when it is not known."""

    def __init__(self, size: int) -> None:
        self.size, self.done = size, 0


class _Counted(io.RawIOBase):
    """A stream that tells `progress` what was read of it."""

    def __init__(self, inner: BinaryIO, progress: Progress) -> None:
        self._inner, self._progress = inner, progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        self._progress.done += len(data)
        return len(data)


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, Progress]]:
    """The inflated content of `path` (`-` is standard input). Raises `ConfigError` when it cannot be opened."""
    with ExitStack() as stack:
        try:
            raw = sys.stdin.buffer if str(path) == "-" else stack.enter_context(path.open("rb"))
            progress = Progress(0 if raw is sys.stdin.buffer else path.stat().st_size)
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error
        buffered = io.BufferedReader(_Counted(raw, progress), BLOCK)
        magic = buffered.peek(4)[:4]
        if magic.startswith(_GZIP):
            yield cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=buffered))), progress
        elif magic == _ZSTD:
            reader = zstandard.ZstdDecompressor().stream_reader(buffered, read_across_frames=True)
            yield cast(BinaryIO, reader), progress
        else:
            yield cast(BinaryIO, buffered), progress


def lines_of(stream: BinaryIO, name: str) -> Iterator[list[bytes]]:
    """Lines without their ends, blank ones left out, some thousand at a time.

    Raises `ConfigError` naming the file when the compressed data is broken; what was read before is already handed on.
    """
    rest, skipping = b"", False
    for block in _blocks(stream, name):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if skipping and lines:
            lines, skipping = lines[1:], False
        if skipping:
            rest = b""
        elif len(rest) > MAX_LINE:
            lines.append(rest[: MAX_LINE + 1])
            rest, skipping = b"", True
        yield [line for line in lines if line and not line.isspace()]
    if rest and not skipping and not rest.isspace():
        yield [rest]


def _blocks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    try:
        while block := stream.read(BLOCK):
            yield block
    except (OSError, EOFError, zstandard.ZstdError) as error:
        raise ConfigError(f"the compressed data is damaged or cut off ({error})", file=name) from error
