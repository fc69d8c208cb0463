"""Content-Encoding: bodies are inflated piece by piece and never past a limit, whatever they claim to hold."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Final

import zstandard

from ingest.refusals import Refusal, too_large, unreadable

_ZSTD_WINDOW: Final = 8 * 1024 * 1024


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as the client meant it, at most `limit` bytes.

    Raises a Refusal: 400 for broken or cut data, 413 past the limit, 415 for an encoding that we do not know.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    decoder = _DECODERS.get(name)
    if decoder is None:
        known = ", ".join(sorted(_DECODERS))
        raise Refusal(415, "unsupported_encoding", f"Content-Encoding {name[:40]!r} is not one of: {known}.")
    return decoder(body, limit)


def _gzip(body: bytes, limit: int) -> bytes:
    """All members of a gzip body, one after the other."""
    parts: list[bytes] = []
    left, rest = limit, body
    while True:
        inflater = zlib.decompressobj(wbits=31)
        part = _run(inflater, rest, left, limit, "gzip")
        parts.append(part)
        left -= len(part)
        rest = inflater.unused_data.lstrip(b"\0")
        if not rest:
            return b"".join(parts)


def _deflate(body: bytes, limit: int) -> bytes:
    """Deflate with the zlib wrapper, as the standard says, or bare, as many clients send it."""
    wrapped = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    inflater = zlib.decompressobj(wbits=15 if wrapped else -15)
    return _run(inflater, body, limit, limit, "deflate")


def _run(inflater: zlib._Decompress, data: bytes, left: int, limit: int, name: str) -> bytes:
    try:
        part = inflater.decompress(data, left + 1)
    except zlib.error as error:
        raise unreadable(f"The body is not valid {name}: {error}.") from error
    if len(part) > left:
        raise _past(limit)
    if not inflater.eof:
        raise unreadable(f"The {name} body ends too early: it was cut off on the way.")
    return part


def _zstd(body: bytes, limit: int) -> bytes:
    """One zstd frame. The size in its header is checked first, because the library allocates what it says."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    try:
        size = zstandard.frame_content_size(body)
        if size > limit:
            raise _past(limit)
        return decompressor.decompress(body, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError as error:
        if _zstd_is_past(decompressor, body, limit):
            raise _past(limit) from error
        raise unreadable(f"The body is not valid zstd: {error}.") from error


def _zstd_is_past(decompressor: zstandard.ZstdDecompressor, body: bytes, limit: int) -> bool:
    """Whether a frame without a size in its header inflates past the limit (reads at most one byte more)."""
    try:
        with decompressor.stream_reader(body) as reader:
            left = limit + 1
            while left > 0 and (piece := reader.read(min(left, 1 << 20))):
                left -= len(piece)
            return left == 0
    except zstandard.ZstdError:
        return False


def _past(limit: int) -> Refusal:
    return too_large(f"The inflated body is larger than {limit} bytes; send smaller batches.")


_DECODERS: Final[Mapping[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
