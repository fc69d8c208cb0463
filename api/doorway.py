"""ASGI middleware at the door: takes keys out of addresses, and puts security headers on every answer."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN: Final = "access_token"  # noqa: S105 - the name of a parameter
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Doorway:
    """Outermost of all. `?access_token=` becomes an Authorization header, on the live stream only."""

    def __init__(self, app: ASGIApp, live_path: str) -> None:
        self._app, self._live_path = app, live_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _move_token(scope, scope["path"] == self._live_path)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/api/") or scope["path"].startswith("/metrics"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, guarded)


def _move_token(scope: Scope, allowed: bool) -> None:
    """Change `scope` in place: the server logs the query string it finds there after the answer."""
    query = scope.get("query_string", b"")
    if TOKEN.encode() not in query:
        return
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    token = next((value for name, value in pairs if name == TOKEN), "")
    scope["query_string"] = urlencode([pair for pair in pairs if pair[0] != TOKEN]).encode("latin-1")
    if allowed and token and not any(name == b"authorization" for name, _ in scope["headers"]):
        scope["headers"] = [*scope["headers"], (b"authorization", b"Bearer " + token.encode("utf-8", "replace"))]
