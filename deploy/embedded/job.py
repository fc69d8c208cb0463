"""One request of the door on its worker thread: unpack the body, run the statement, pack the answer.

It hands over a `Head` first, then pieces of the body, then an `End`; an error before the head is a `Head` with an error
status, an error after it is an `End` with the error, on which the door breaks the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final

import orjson

from deploy.embedded import codec
from deploy.embedded.engine import Done, Engine, EngineError, Summary
from deploy.embedded.form import parse_form
from deploy.embedded.statement import BadRequest, External, Statement, build, options_of

BUFFER: Final = 1 << 20
"""Bytes of a result that are gathered before the answer starts, so that most errors still get their own status."""
WORTH_PACKING: Final = 4096

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Request:
    """A request as it arrived; header names are lower case."""

    query_string: bytes
    body: bytes
    get: bool
    headers: dict[bytes, bytes]

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def writes(self) -> bool:
        """Whether this is an insert, by its first word; a guess that only chooses the queue."""
        packed = self.header(b"content-encoding") not in ("", "identity")
        return (
            packed or b"INSERT" in self.query_string[:400].upper() or self.body[:64].lstrip()[:6].upper() == b"INSERT"
        )


@dataclass(frozen=True)
class Head:
    """Status, headers and the first piece of the body; `complete` when nothing follows."""

    status: int
    headers: Headers
    body: bytes
    complete: bool


@dataclass(frozen=True)
class End:
    """No more pieces; `error` when the result is not whole."""

    error: str = ""


Piece = Head | End | bytes
Put = Callable[[Piece], None]
Results = Generator[bytes | Done]


class Abandoned(Exception):
    """Nobody reads the answer any more."""


def failure(code: int, text: str, status: int = 500, more: Headers | None = None) -> Head:
    """An error answer as ClickHouse gives it."""
    headers = [(b"content-type", b"text/plain; charset=UTF-8"), (b"x-clickhouse-exception-code", str(code).encode())]
    return Head(status, headers + (more or []), text.rstrip("\n").encode() + b"\n", True)


def execute(engine: Engine, request: Request, body_limit: int, put: Put) -> None:
    """Run `request`, giving everything to `put` (which blocks while the client is slow, and may raise Abandoned)."""
    try:
        statement = read_statement(request, body_limit)
        results = engine.run(statement)
    except BadRequest as error:
        put(failure(error.code, str(error)))
        return
    try:
        _answer(engine, request, statement, results, put)
    except Abandoned:
        pass
    finally:
        results.close()


def read_statement(request: Request, body_limit: int) -> Statement:
    """What the request asks for. Raises BadRequest."""
    body = codec.decode(request.body, request.header(b"content-encoding"), body_limit)
    options = options_of(request.query_string)
    external: tuple[External, ...] = ()
    content_type = request.header(b"content-type")
    if content_type.startswith("multipart/form-data"):
        options, external = parse_form(content_type, body, options)
        body = b""
    form = request.header(b"x-clickhouse-format")
    database = request.header(b"x-clickhouse-database")
    if database:
        options.setdefault("database", database)
    return build(options, body, external, header_format=form, readonly=request.get)


def _answer(engine: Engine, request: Request, statement: Statement, results: Results, put: Put) -> None:
    first: list[bytes] = []
    size = 0
    done: Done | None = None
    try:
        for piece in results:
            if isinstance(piece, Done):
                done = piece
                break
            first.append(piece)
            size += len(piece)
            if size > BUFFER:
                break
    except (EngineError, BadRequest) as error:
        put(failure(error.code, str(error)))
        return
    packer, headers = _packing(request, size)
    body = b"".join(first)
    if done is not None:
        headers += _headers(engine, statement, done.has_result, done.summary)
        put(Head(200, headers, packer.feed(body) + packer.finish() if packer else body, True))
        return
    put(Head(200, headers + _headers(engine, statement, True, Summary()), packer.feed(body) if packer else body, False))
    try:
        for piece in results:
            if isinstance(piece, bytes):
                put(packer.feed(piece) if packer else piece)
    except EngineError as error:
        put(End(str(error)))
        return
    if packer:
        put(packer.finish())
    put(End())


def _packing(request: Request, size: int) -> tuple[codec.Encoder | None, Headers]:
    """A compressor when the client asked for one as ClickHouse wants it asked, and it pays."""
    asked = b"enable_http_compression=1" in request.query_string
    name = codec.choose(request.header(b"accept-encoding")) if asked and size > WORTH_PACKING else ""
    if not name:
        return None, []
    return codec.encoder(name), [(b"content-encoding", name.encode())]


def _headers(engine: Engine, statement: Statement, has_result: bool, summary: Summary) -> Headers:
    counts = {
        "read_rows": summary.read_rows,
        "read_bytes": summary.read_bytes,
        "written_rows": summary.written_rows,
        "written_bytes": summary.written_bytes,
        "total_rows_to_read": summary.read_rows,
        "result_rows": summary.result_rows,
        "result_bytes": 0,
        "elapsed_ns": int(summary.elapsed * 1e9),
    }
    headers = [
        (b"x-clickhouse-summary", orjson.dumps({name: str(n) for name, n in counts.items()})),
        (b"x-clickhouse-timezone", engine.timezone.encode()),
        (b"content-type", b"text/plain; charset=UTF-8"),
    ]
    if has_result:
        headers.append((b"x-clickhouse-format", statement.format.encode()))
    return headers
