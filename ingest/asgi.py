"""The thin layer over ASGI: requests, responses, routes. Errors are answered `{"error": code, "message": text}`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from ingest.refusals import Overloaded, Patience, Refusal
from schemas.errors import Retryable

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_JSON: Final = (b"content-type", b"application/json")
_ORIGIN: Final = (b"access-control-allow-origin", b"*")
_PREFLIGHT: Final = (
    _ORIGIN,
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-allow-headers", b"authorization, content-type, content-encoding, x-api-key"),
    (b"access-control-max-age", b"86400"),
    (b"content-length", b"0"),
)
_SMALL_DIGITS: Final = 5
"""A Content-Length of so many digits is small."""
_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 8 * 1024 * 1024
_log = logging.getLogger(__name__)


class Request:
    """One HTTP request. Header names are in lower case; of a repeated header the last holds."""

    __slots__ = ("_receive", "ended", "headers", "method", "path")

    def __init__(self, scope: Mapping[str, Any], receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.ended = False
        self._receive = receive

    async def read(self) -> bytes:
        """The next piece of the body; `ended` tells the last. Raises a 400 Refusal when the client left."""
        message = await self._receive()
        if message["type"] != "http.request":
            self.ended = True
            raise Refusal(400, "unreadable_body", "The connection was closed before the body was complete.")
        self.ended = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body

    def header(self, name: bytes) -> str:
        """A header as text, "" when it is missing."""
        return self.headers.get(name, b"").decode("latin-1")


class Response(NamedTuple):
    """What is answered."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = (_JSON,)


Handler = Callable[[Request], Awaitable[Response]]
Answer = Callable[[Request, Response, str], None]
"""Told of every response; the text is the code of the error, "" without one."""


class Route(NamedTuple):
    """A method and an exact path, and who answers."""

    method: str
    path: str
    handler: Handler


def json_response(status: int, value: object, *headers: tuple[bytes, bytes]) -> Response:
    """A response with a JSON body."""
    return Response(status, orjson.dumps(value), (_JSON, *headers))


def error_response(refusal: Refusal) -> Response:
    """How a refusal is told."""
    headers = []
    if refusal.retry_after is not None:
        headers.append((b"retry-after", b"%d" % refusal.retry_after))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="headrace"'))
    body = {"error": refusal.code, "message": refusal.message}
    return json_response(refusal.status, body, *headers)


class Router:
    """An ASGI application over a list of routes. No exception leaves it: the unforeseen is logged, and answered 500."""

    def __init__(self, routes: Sequence[Route], patience: Patience, answered: Answer) -> None:
        self._routes: dict[str, dict[str, Handler]] = {}
        for route in routes:
            self._routes.setdefault(route.path, {})[route.method] = route.handler
        self._patience, self._answered = patience, answered

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        code = ""
        try:
            response = await self._handle(request)
        except Refusal as refusal:
            response, code = error_response(refusal), refusal.code
        self._answered(request, response, code)
        await _send(response, request, send)

    async def _handle(self, request: Request) -> Response:
        methods = self._routes.get(request.path)
        if request.method == "OPTIONS":
            return Response(204, b"", _PREFLIGHT)
        if methods is None:
            raise Refusal(404, "not_found", f"There is nothing at {request.path[:200]}.")
        handler = methods.get(request.method)
        if handler is None:
            allowed = ", ".join(sorted(methods))
            raise Refusal(405, "method_not_allowed", f"Only {allowed} is possible here.")
        try:
            return await handler(request)
        except Overloaded as error:
            raise self._later(429, "overloaded", error) from error
        except Retryable as error:
            raise self._later(503, "unavailable", error) from error
        except Refusal:
            raise
        except Exception as error:
            _log.exception("an error that should not happen while answering %s %s", request.method, request.path)
            raise Refusal(500, "internal", "Something went wrong here; send the same events again.") from error

    def _later(self, status: int, code: str, error: Exception) -> Refusal:
        text = str(error)
        message = f"{text[:1].upper()}{text[1:]}."
        return Refusal(status, code, message, retry_after=self._patience.seconds(error))


async def _send(response: Response, request: Request, send: Send) -> None:
    headers = [_ORIGIN, *response.headers] if response.headers is not _PREFLIGHT else list(_PREFLIGHT)
    if response.status != 204:
        headers.append((b"content-length", b"%d" % len(response.body)))
    linger = _has_more(request)
    if linger:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": linger})
    if linger:
        await _read_away(request)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _has_more(request: Request) -> bool:
    """Whether much of the body is still to come; the server reads away what is small, and keeps the connection."""
    if request.ended:
        return False
    declared = request.header(b"content-length")
    return b"transfer-encoding" in request.headers or len(declared) > _SMALL_DIGITS


async def _read_away(request: Request) -> None:
    """Throw away a little of the body, so that a client which is still sending gets to read the answer."""
    left = _LINGER_BYTES
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while left > 0 and not request.ended:
                left -= len(await request.read())
    except (TimeoutError, Refusal):
        return
