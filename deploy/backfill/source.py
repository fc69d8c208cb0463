"""From files to bytes: plain, gzip or zstd, told by their first bytes. Memory does not grow with the file."""

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
STDIN: Final = Path("-")
BROKEN: Final = (OSError, EOFError, zstandard.ZstdError)
"""What reading raises where compressed data is damaged or cut off."""
_SIP: Final = 4096
"""Compressed bytes inflated at once: even a bomb makes no more than some 100 MB of them."""
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Progress:
    """How far a file is read: `done` of `size`, bytes as stored (compressed) or rows; `size` 0 when it is not known."""

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

    def seekable(self) -> bool:
        return self._inner.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._progress.done = self._inner.seek(offset, whence)
        return self._progress.done


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
            raw = sys.stdin.buffer if path == STDIN else stack.enter_context(path.open("rb"))
            progress = Progress(0 if path == STDIN else path.stat().st_size)
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


def pass_over(stream: BinaryIO, count: int, path: Path) -> None:
    """Skip inflated bytes: a plain file is entered there, a compressed one is inflated up to there."""
    try:
        if stream.seekable():
            stream.seek(count, io.SEEK_CUR)
            return
        while count and (data := stream.read(min(count, BLOCK))):
            count -= len(data)
    except BROKEN as error:
        raise damaged(error, path) from error


def damaged(error: Exception, path: Path) -> ConfigError:
    """What to say of a file that cannot be read to its end."""
    return ConfigError(f"the compressed data is damaged or cut off ({error})", file=str(path))


def peek(stream: BinaryIO, count: int, path: Path) -> bytes:
    """Some of the next bytes, at most `count`, still to be read. Raises `ConfigError` for damaged data."""
    try:
        return cast(io.BufferedReader, stream).peek(count)[:count]
    except BROKEN as error:
        raise damaged(error, path) from error
