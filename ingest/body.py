"""Reading a request's body under limits, and decoding it without holding up the other requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ingest.decode import decode_carefully, decode_fast, is_lines
from ingest.refusals import Refusal, too_large, unreadable

if TYPE_CHECKING:
    from ingest.admission import Room
    from ingest.asgi import Request

_THREAD_BYTES: Final = 128 * 1024
"""Larger bodies that need care are decoded in a thread; the event loop goes on meanwhile."""


async def read_body(request: Request, room: Room, limit: int, seconds: float) -> bytes:
    """The body as sent, at most `limit` bytes, within `seconds`.

    Raises a Refusal: 413 as soon as the declared or the received size passes the limit, 408 when it takes too long,
    400 when the client went away.
    """
    declared = _declared_size(request)
    if declared > limit:
        raise _past(limit)
    room.grow_to(declared)
    try:
        async with asyncio.timeout(seconds):
            return await _read_pieces(request, room, limit)
    except TimeoutError as error:
        raise Refusal(408, "body_timeout", f"The body did not arrive within {seconds:g} s.") from error


async def _read_pieces(request: Request, room: Room, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while not request.ended:
        piece = await request.read()
        size += len(piece)
        if size > limit:
            raise _past(limit)
        room.grow_to(size)
        pieces.append(piece)
    return b"".join(pieces)


async def decode(body: bytes, content_type: str, limit: int) -> list[object]:
    """The events of a body; see `ingest.decode`. Raises a Refusal: 400, 413 or 415."""
    lines = is_lines(content_type)
    events = decode_fast(body, lines=lines, limit=limit)
    if events is not None:
        return events
    if len(body) < _THREAD_BYTES:
        return decode_carefully(body, lines=lines, limit=limit)
    return await asyncio.to_thread(decode_carefully, body, lines=lines, limit=limit)


def _declared_size(request: Request) -> int:
    text = request.header(b"content-length")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise unreadable("Content-Length is not a number.")
    return int(text) if len(text) < 19 else 1 << 62


def _past(limit: int) -> Refusal:
    return too_large(f"The body is larger than {limit} bytes; send smaller batches.")
