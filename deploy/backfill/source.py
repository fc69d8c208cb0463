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
_SIP: Final = 4096
"""Compressed bytes inflated at once: even a bomb makes no more than some 100 MB of them."""
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


class _Zstd(io.RawIOBase):
    """Inflates one zstd frame after the other; a last frame that is cut off is an error, not an end."""

    def __init__(self, inner: BinaryIO) -> None:
        self._inner, self._ready = inner, b""
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            data = self._inner.read(_SIP)
            if not data:
                if self._frame is not None:
                    raise EOFError("the last zstd frame has no end")
                return 0
            self._inflate(data)
        n = min(len(buffer), len(self._ready))
        buffer[:n], self._ready = self._ready[:n], self._ready[n:]
        return n

    def _inflate(self, data: bytes) -> None:
        while data:
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._ready += self._frame.decompress(data)
            data = self._frame.unused_data
            if self._frame.eof:
                self._frame = None


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
            yield cast(BinaryIO, io.BufferedReader(_Zstd(cast(BinaryIO, buffered)), BLOCK)), progress
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
