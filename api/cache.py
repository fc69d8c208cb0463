"""ASGI middleware: answers about metrics are given again for a second, and computed once for all who ask meanwhile.

What takes long to compute is given again for ten times as long as it took, and after that once more for as long while
a new one is computed; `as_of` says of when it is. Only answers about a tenant as a whole are kept, nothing that names
users. An answer is found by tenant, pack, role and the exact address, so nobody sees what another key may not. Its age
counts from before it was computed. Every such answer has a validator: `If-None-Match` is answered with 304 while
nothing but the age of the data is other.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.context import credential
from schemas.clock import Clock
from schemas.keys import KeyRefused, KeyStore, Kind

MOST: Final = 1_000
MOST_BYTES: Final = 64 * 2**20
"""Answers that are kept, and their bytes; the oldest go first."""
_KEPT: Final = frozenset({"metrics", "query", "kpis", "cohorts", "funnel", "heatmap", "attribution", "corrections"})
_SLOW: Final = frozenset({"funnel", "attribution", "cohorts"})
"""What may take long over a long history."""
SLOW_TIMES: Final = 10
LONGEST_SECONDS: Final = 300.0
_AGE: Final = re.compile(rb'"age_seconds":[0-9.e+-]+')

Question = tuple[str, str, str, str, bytes]


@dataclass(frozen=True)
class _Answer:
    """A response, and the route that gave it, by which requests are counted.

    Monotonic seconds: up to `until` it is as good as new, up to `last` it is given while a new one is computed.
    """

    until: float
    last: float
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    route: Mapping[str, Any]

    @property
    def etag(self) -> str:
        return dict(self.headers).get(b"etag", b"").decode()


class AnswerCache:
    """`seconds`: how long an answer is given again; 0 for never."""

    def __init__(self, app: ASGIApp, keys: KeyStore, clock: Clock, root: str, seconds: float) -> None:
        self._app, self._keys, self._clock, self._root, self._seconds = app, keys, clock, root, seconds
        self._answers: OrderedDict[Question, asyncio.Future[_Answer]] = OrderedDict()
        self._bytes = 0
        self._renewing: dict[Question, asyncio.Task[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asking = self._seconds > 0 and scope["type"] == "http" and scope["method"] == "GET"
        question = self._question(scope) if asking else None
        if question is None:
            await self._app(scope, receive, send)
            return
        answer = await self._known(question)
        if answer is None:
            answer = await self._ask(question, scope, receive)
        else:
            if self._clock.monotonic() >= answer.until and question not in self._renewing:
                self._renewing[question] = asyncio.create_task(self._renew(question, dict(scope)))
            scope.update(answer.route)
        await _send(answer, Request(scope).headers.get("if-none-match", ""), send)

    def _question(self, scope: Scope) -> Question | None:
        path, rest = str(scope["path"]), self._rest(scope)
        first, _, more = rest.partition("/")
        if first not in _KEPT or (rest == path[1:] and not (first == "metrics" and more)):
            return None
        try:
            key = self._keys.find(credential(Request(scope)), Kind.SECRET)
        except KeyRefused:
            return None
        return key.tenant, key.pack, str(key.role), path, scope.get("query_string", b"")

    async def _known(self, question: Question) -> _Answer | None:
        """An answer that may be given, or the one that is being computed; None where there is none, or it failed."""
        pending = self._answers.get(question)
        if pending is None:
            return None
        try:
            answer = await asyncio.shield(pending)
        except (asyncio.CancelledError, Exception):
            if not pending.done() or pending.cancelled():
                raise
            return None
        return answer if self._clock.monotonic() < answer.last else None

    async def _ask(self, question: Question, scope: Scope, receive: Receive) -> _Answer:
        """Compute it, for whoever asks the same meanwhile, too. What is not 200 is told and not kept."""
        pending: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._forget(question)
        self._answers[question] = pending
        try:
            answer = await self._computed(scope, receive)
        except BaseException as error:
            self._forget(question)
            pending.set_exception(error if isinstance(error, Exception) else RuntimeError("given up"))
            pending.exception()
            raise
        self._keep(question, pending, answer)
        return answer

    async def _renew(self, question: Question, scope: Scope) -> None:
        """Compute it again for those who come later. What fails is left for them to see."""
        try:
            answer = await self._computed(scope, _no_body)
            if answer.status == 200:
                self._forget(question)
                self._answers[question] = pending = asyncio.get_running_loop().create_future()
                self._keep(question, pending, answer)
        except Exception:
            self._forget(question)
        finally:
            del self._renewing[question]

    def _keep(self, question: Question, pending: asyncio.Future[_Answer], answer: _Answer) -> None:
        """Give it to whoever waits, and keep it; the oldest answers go."""
        pending.set_result(answer)
        self._bytes += len(answer.body)
        if answer.status != 200:
            self._forget(question, pending)
        while len(self._answers) > MOST or self._bytes > MOST_BYTES:
            oldest = next((one for one, kept in self._answers.items() if kept.done()), None)
            if oldest is None:
                break
            self._forget(oldest)

    async def _computed(self, scope: Scope, receive: Receive) -> _Answer:
        began = self._clock.monotonic()
        start: Message = {}
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        await self._app(scope, receive, collect)
        body = b"".join(parts)
        status = int(start["status"])
        headers = MutableHeaders(raw=list(start["headers"]))
        if status == 200:
            told = blake2b(_AGE.sub(b"", body), digest_size=16).hexdigest()
            headers["ETag"] = f'W/"{told}"'
            headers["Cache-Control"] = f"private, max-age={int(self._seconds)}"
            headers["Vary"] = "Authorization, X-Api-Key"
        route = {name: scope[name] for name in ("route", "path_params") if name in scope}
        until, last = self._bounds(scope, began)
        return _Answer(until, last, status, headers.raw, body, route)

    def _bounds(self, scope: Scope, began: float) -> tuple[float, float]:
        """Until when it is as good as new, and may be given at all."""
        ended = self._clock.monotonic()
        took = ended - began
        if took <= self._seconds or self._rest(scope).partition("/")[0] not in _SLOW:
            return began + self._seconds, began + self._seconds
        kept = min(took * SLOW_TIMES, LONGEST_SECONDS)
        return ended + kept, ended + 2 * kept

    def _rest(self, scope: Scope) -> str:
        """A path without the root, where it has it."""
        path = str(scope["path"])
        return path[len(self._root) + 1 :] if path.startswith(f"{self._root}/") else path[1:]

    def _forget(self, question: Question, only: asyncio.Future[_Answer] | None = None) -> None:
        kept = self._answers.get(question)
        if kept is None or only not in (None, kept):
            return
        del self._answers[question]
        if kept.done() and not kept.cancelled() and kept.exception() is None:
            self._bytes -= len(kept.result().body)


async def _no_body() -> Message:
    """What is received of a request that is computed again."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(answer: _Answer, wanted: str, send: Send) -> None:
    known = {tag.strip() for tag in wanted.split(",")}
    if answer.etag and (answer.etag in known or "*" in known):
        kept = [one for one in answer.headers if one[0] in (b"etag", b"cache-control", b"vary")]
        await send({"type": "http.response.start", "status": 304, "headers": kept})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)})
    await send({"type": "http.response.body", "body": answer.body})
