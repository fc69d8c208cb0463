"""Content-Encoding of requests and responses: gzip, deflate, zstd, lz4. Decompression stops at a limit (bombs)."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, Protocol

from deploy.embedded.statement import BadRequest


class Encoder(Protocol):
    """A streaming compressor."""

    def feed(self, data: bytes) -> bytes:
        """Compressed bytes that are ready; may be empty."""
        ...

    def finish(self) -> bytes:
        """The rest."""
        ...


class _ZlibEncoder:
    def __init__(self, wbits: int) -> None:
        self._object = zlib.compressobj(1, zlib.DEFLATED, wbits)

    def feed(self, data: bytes) -> bytes:
        return self._object.compress(data)

    def finish(self) -> bytes:
        return self._object.flush()


class _ZstdEncoder:
    def __init__(self) -> None:
        import zstandard

        self._object = zstandard.ZstdCompressor(level=1).compressobj()

    def feed(self, data: bytes) -> bytes:
        return self._object.compress(data)

    def finish(self) -> bytes:
        return self._object.flush()


class _Lz4Encoder:
    def __init__(self) -> None:
        self._object: Any = import_module("lz4.frame").LZ4FrameCompressor()
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        head = b"" if self._begun else bytes(self._object.begin())
        self._begun = True
        return head + bytes(self._object.compress(data))

    def finish(self) -> bytes:
        return self.feed(b"") + bytes(self._object.flush())


_ENCODERS: Final[dict[str, Callable[[], Encoder]]] = {
    "lz4": _Lz4Encoder,
    "zstd": _ZstdEncoder,
    "gzip": lambda: _ZlibEncoder(31),
    "deflate": lambda: _ZlibEncoder(15),
}


def choose(accept_encoding: str) -> str:
    """The encoding to answer with, the cheapest that the client takes; "" for none."""
    offered = {part.split(";")[0].strip().lower() for part in accept_encoding.split(",") if not part.endswith("q=0")}
    return next((name for name in _ENCODERS if name in offered), "")


def encoder(name: str) -> Encoder:
    """A compressor for a name that `choose` gave."""
    return _ENCODERS[name]()


def decode(data: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding; BadRequest when it is broken, unknown or over `limit` bytes."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return data
    unpack = _DECODERS.get(name)
    if unpack is None:
        known = ", ".join(_ENCODERS)
        raise BadRequest(89, "UNKNOWN_COMPRESSION_METHOD", f"Content-Encoding {name!r}: use one of {known}")
    try:
        body = unpack(data, limit + 1)
    except (zlib.error, RuntimeError, ValueError, EOFError) as error:
        raise BadRequest(271, "CANNOT_DECOMPRESS", f"the body is not valid {name}: {error}") from error
    if len(body) > limit:
        raise BadRequest(241, "MEMORY_LIMIT_EXCEEDED", f"the body is over {limit} bytes when decompressed")
    return body


def _frames(data: bytes, most: int, new: Callable[[], Any]) -> bytes:
    """All frames of `data`, up to `most` bytes. Raises EOFError when the last one is cut short."""
    out: list[bytes] = []
    while data and most > 0:
        frame = new()
        piece = bytes(frame.decompress(data, most))
        out.append(piece)
        most -= len(piece)
        if not frame.eof:
            if most > 0:
                raise EOFError("it ends too early")
            break
        data = frame.unused_data
    return b"".join(out)


def _zlib(data: bytes, most: int) -> bytes:
    return _frames(data, most, lambda: zlib.decompressobj(47))


def _lz4(data: bytes, most: int) -> bytes:
    return _frames(data, most, import_module("lz4.frame").LZ4FrameDecompressor)


def _zstd(data: bytes, most: int) -> bytes:
    import zstandard

    try:
        return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read(most)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


_DECODERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _zlib,
    "deflate": _zlib,
    "lz4": _lz4,
    "zstd": _zstd,
}
