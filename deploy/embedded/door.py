"""The ClickHouse HTTP interface in front of the engine, as an ASGI application.

Reads: `GET|POST /` (statement in the body or in `query`), `GET /ping`. Writes: the engine's tables.
Guarantee: 200 to an insert means that it is in the table. On failure: status 500 with X-ClickHouse-Exception-Code, 503
when too much waits, 413 over the size limit; a result that fails half-way ends with a broken connection, never with an
answer that looks complete. Sessions (`session_id`) are accepted and ignored: every request stands alone.
"""

from __future__ import annotations

import asyncio
import binascii
import hmac
import logging
from base64 import b64decode
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from deploy.embedded.engine import Engine
from deploy.embedded.job import Abandoned, End, Head, Headers, Piece, Request, execute, failure
from deploy.embedded.statement import BadRequest, options_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = logging.getLogger("headrace.warehouse")

_STALLED_SECONDS: Final = 120.0
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_PROBES: Final = ("/ping", "/replicas_status")


@dataclass(frozen=True)
class Limits:
    """Bounds of the door: sizes in bytes, requests waiting for an answer, and threads for reads and for inserts."""

    body: int = 512 << 20
    in_flight: int = 1 << 30
    waiting: int = 128
    readers: int = 8
    writers: int = 4


class _Refused(Exception):
    """An answer before the engine was asked."""

    def __init__(self, head: Head) -> None:
        super().__init__(head.body)
        self.head = head


class _Broken(Exception):
    """The answer cannot be finished; the server closes the connection."""


class Door:
    """The application. One instance an engine."""

    def __init__(self, engine: Engine, *, limits: Limits, password: str = "", loopback: bool = True) -> None:
        """`loopback`: serve only requests whose Host names this machine (keeps rebound web pages out)."""
        self._engine = engine
        self._limits = limits
        self._password = password
        self._loopback = loopback
        self._readers = ThreadPoolExecutor(limits.readers, "read")
        self._writers = ThreadPoolExecutor(limits.writers, "write")
        self._waiting = 0
        self._bytes = 0

    def close(self) -> None:
        """Wait for running statements, then release the threads."""
        self._writers.shutdown(wait=True)
        self._readers.shutdown(wait=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        try:
            self._admit(scope, headers)
            if scope["path"] in _PROBES or (
                scope["path"] == "/" and scope["method"] != "POST" and not scope["query_string"]
            ):
                await _send_head(send, Head(200, [(b"content-type", b"text/html; charset=UTF-8")], b"Ok.\n", True))
                return
            await self._statement(scope, headers, receive, send)
        except _Refused as refusal:
            await _send_head(send, refusal.head)

    def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Keep out web pages (an Origin, a rebound Host), wrong passwords and unknown paths."""
        host = headers.get(b"host", b"").decode("latin-1")
        if host.rpartition(":")[2].isdigit():
            host = host.rpartition(":")[0]
        if self._loopback and host not in _LOOPBACK:
            raise _refused(403, 516, f"Host {host!r} is not this machine. (AUTHENTICATION_FAILED)")
        if b"origin" in headers:
            raise _refused(403, 516, "Web pages may not query this server. (AUTHENTICATION_FAILED)")
        if scope["path"] not in ("/", *_PROBES):
            raise _Refused(Head(404, [], f"There is no handle {scope['path']}. Use / or /ping.\n".encode(), True))
        if self._password and scope["path"] == "/":
            given = _password_of(scope["query_string"], headers)
            if not hmac.compare_digest(given.encode(), self._password.encode()):
                raise _refused(403, 516, "Wrong password. (AUTHENTICATION_FAILED)")

    async def _statement(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        if self._waiting >= self._limits.waiting:
            raise _refused(503, 202, f"{self._waiting} requests are waiting. (TOO_MANY_SIMULTANEOUS_QUERIES)")
        length = headers.get(b"content-length", b"0")
        held = self._hold(0, int(length) if length.isdigit() else 0)
        self._waiting += 1
        try:
            pieces: list[bytes] = []
            size, more = 0, True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                held = self._hold(held, size)
                more = message.get("more_body", False)
            request = Request(scope["query_string"], b"".join(pieces), scope["method"] in ("GET", "HEAD"), headers)
            await self._run(request, receive, send)
        finally:
            self._waiting -= 1
            self._bytes -= held

    def _hold(self, held: int, size: int) -> int:
        """Take memory for a body of at least `size` bytes; the new amount held, or a refusal."""
        if size <= held:
            return held
        if size > self._limits.body:
            raise _refused(413, 241, f"The body is over {self._limits.body} bytes: send less. (MEMORY_LIMIT_EXCEEDED)")
        if self._bytes + size - held > self._limits.in_flight:
            raise _refused(503, 202, f"{self._bytes} bytes of other requests wait. (TOO_MANY_SIMULTANEOUS_QUERIES)")
        self._bytes += size - held
        return size

    async def _run(self, request: Request, receive: Receive, send: Send) -> None:
        """Run on a thread and send what it gives, with back pressure from the socket to the engine."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Piece] = asyncio.Queue(maxsize=4)
        gone = False

        async def accept(piece: Piece) -> None:
            if gone:
                raise Abandoned
            await pieces.put(piece)

        def put(piece: Piece) -> None:
            asyncio.run_coroutine_threadsafe(accept(piece), loop).result()

        pool = self._writers if request.writes else self._readers
        running = loop.run_in_executor(pool, execute, self._engine, request, self._limits.body, put)
        left = asyncio.ensure_future(receive())  # gives nothing more until the client goes away
        try:
            await _relay(running, pieces, send, left)
        finally:
            gone = True
            left.cancel()
            while not pieces.empty():
                pieces.get_nowait()
            await running


async def _relay(
    running: asyncio.Future[None], pieces: asyncio.Queue[Piece], send: Send, left: asyncio.Future[Any]
) -> None:
    getter = asyncio.ensure_future(pieces.get())
    await asyncio.wait((running, getter), return_when=asyncio.FIRST_COMPLETED)
    if not getter.done() and pieces.empty():
        getter.cancel()
        await running  # raises what the thread died of
    head = await getter
    if not isinstance(head, Head):
        raise _Broken("no head")
    await _send_head(send, head)
    while not head.complete and not left.done():
        piece = await pieces.get()
        if isinstance(piece, bytes):
            await asyncio.wait_for(_send_body(send, piece, True), _STALLED_SECONDS)
        elif isinstance(piece, End):
            if piece.error:
                log.error("a result broke off: %s", piece.error)
                raise _Broken(piece.error)
            await _send_body(send, b"", False)
            return


async def _send_head(send: Send, head: Head) -> None:
    headers: Headers = list(head.headers)
    if head.complete:
        headers.append((b"content-length", str(len(head.body)).encode()))
    if head.status in (413, 503):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": head.status, "headers": headers})
    await _send_body(send, head.body, not head.complete)


async def _send_body(send: Send, body: bytes, more: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


def _refused(status: int, code: int, text: str) -> _Refused:
    retry: Headers = [(b"retry-after", b"1")] if status == 503 else []
    return _Refused(failure(code, f"Code: {code}. DB::Exception: {text}", status, retry))


def _password_of(query_string: bytes, headers: dict[bytes, bytes]) -> str:
    if b"x-clickhouse-key" in headers:
        return headers[b"x-clickhouse-key"].decode("latin-1")
    scheme, _, value = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "basic":
        try:
            return b64decode(value).decode("utf-8", "replace").partition(":")[2]
        except binascii.Error:
            return ""
    try:
        return options_of(query_string).get("password", "")
    except BadRequest:
        return ""
