"""What a request to the ClickHouse HTTP interface asks for: pure parsing, no I/O and no engine.

A statement comes in the body, or in the `query` parameter with data in the body. An insert of data must be split into
its SQL and its bytes, because bytes of FORMAT Native are no text; everything else goes to the engine as one text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from schemas.errors import Permanent

NOT_IMPLEMENTED: Final = 48
SYNTAX_ERROR: Final = 62
BAD_ARGUMENTS: Final = 36
UNKNOWN_SETTING: Final = 115
HEAD_LIMIT: Final = 262_144
"""Bytes within which the SQL of an insert must end; ClickHouse's own `max_query_size`."""

TRANSPORT: Final = frozenset(
    (
        *("query", "database", "default_format", "query_id", "user", "password", "quota_key", "role"),
        *("session_id", "session_timeout", "session_check", "compress", "decompress", "buffer_size"),
        *("wait_end_of_query", "client_protocol_version", "enable_http_compression", "add_http_cors_header"),
        *("send_progress_in_http_headers", "http_headers_progress_interval_ms"),
        "cancel_http_readonly_queries_on_client_close",
    )
)
"""Parameters of the HTTP interface itself; every other one is a setting of the engine."""

_TOKEN: Final = re.compile(
    rb"""(?P<space>\s+ | --[^\n]*(?:\n|\Z) | \#[ !][^\n]*(?:\n|\Z) | /\*.*?\*/)
       | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
       | (?P<quoted>'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*`)
       | (?P<open>[(\[{]) | (?P<close>[)\]}])
       | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_SETTING_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_GAP: Final = re.compile(rb"[ \t\r]*\n?")


class BadRequest(Permanent):
    """A request that the door refuses before the engine sees it; `code` is ClickHouse's error code."""

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {message} ({name})")
        self.code = code


@dataclass(frozen=True)
class External:
    """A table that travels with a query: `structure` is `name Type, …`, `data` is in `format`."""

    name: str
    structure: str
    format: str
    data: bytes


@dataclass(frozen=True)
class Statement:
    """One statement. `data` is None unless it inserts bytes in `format`; then `sql` is without its FORMAT clause."""

    sql: str
    format: str
    data: bytes | memoryview | None = None
    database: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    external: tuple[External, ...] = ()


def build(
    options: Mapping[str, str],
    body: bytes,
    external: tuple[External, ...],
    *,
    header_format: str = "",
    readonly: bool = False,
) -> Statement:
    """The statement of a request with these query-string `options`.

    `header_format`: X-ClickHouse-Format. `readonly`: a GET, which ClickHouse treats as `readonly=2`.
    Raises BadRequest on unreadable text, an absent statement, or an option that this server does not have.
    """
    for name in ("compress", "decompress"):
        if options.get(name, "0") not in ("", "0"):
            raise BadRequest(
                NOT_IMPLEMENTED, "NOT_IMPLEMENTED", f"{name}=1 is not supported here: use Content-Encoding"
            )
    params = {name[6:]: value for name, value in options.items() if name.startswith("param_")}
    settings = {n: v for n, v in options.items() if n not in TRANSPORT and not n.startswith("param_")}
    for name in (*settings, *params):
        if not _SETTING_NAME.match(name):
            raise BadRequest(UNKNOWN_SETTING, "UNKNOWN_SETTING", f"{name!r} is not the name of a setting")
    if readonly and settings.get("readonly", "0") == "0":
        settings["readonly"] = "2"
    sql, fmt, data = _split(options.get("query", "").encode(), body)
    return Statement(
        sql=sql,
        format=fmt or header_format or options.get("default_format") or "TabSeparated",
        data=data,
        database=options.get("database", ""),
        settings=settings,
        params=params,
        external=external,
    )


def options_of(query_string: bytes) -> dict[str, str]:
    """The decoded query string; BadRequest when it cannot be read."""
    try:
        return dict(parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict"))
    except (UnicodeDecodeError, ValueError) as error:
        raise BadRequest(BAD_ARGUMENTS, "BAD_ARGUMENTS", f"the query string cannot be read: {error}") from error


def _split(query: bytes, body: bytes) -> tuple[str, str, bytes | memoryview | None]:
    """(sql, format or "", data or None) of a `query` parameter and a body."""
    head = query or body
    insert = _insert_head(head[:HEAD_LIMIT])
    if insert is None:
        text = b"\n".join(part for part in (query, body) if part)
        if not text.strip():
            raise BadRequest(SYNTAX_ERROR, "SYNTAX_ERROR", "Empty query")
        sql = _text(text)
        return sql, result_format(sql), None
    rest = memoryview(head)[insert.data_start :]
    if not query:
        return _text(head[: insert.sql_end]), insert.format, rest
    return _text(head[: insert.sql_end]), insert.format, (bytes(rest) + b"\n" + body if rest.nbytes else body)


@dataclass(frozen=True)
class _InsertHead:
    """Where an insert's SQL ends (before FORMAT), the format's name, and where its data starts."""

    sql_end: int
    format: str
    data_start: int


def _insert_head(head: bytes) -> _InsertHead | None:
    """The head of an insert of data; None for any other statement."""
    words = _top_level_words(head)
    first = next(words, None)
    if first is None or first[0].upper() != b"INSERT":
        return None
    for word, start, _ in words:
        keyword = word.upper()
        if keyword in (b"SELECT", b"WITH", b"VALUES", b"INFILE", b"WATCH"):
            return None
        if keyword == b"FORMAT":
            name = next(words, None)
            if name is None or name[0].upper() == b"VALUES":
                return None
            gap = _GAP.match(head, name[2])
            return _InsertHead(start, name[0].decode(), gap.end() if gap else name[2])
    return None


def _top_level_words(sql: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(word, start, end) outside quotes, comments and brackets."""
    depth = 0
    for token in _TOKEN.finditer(sql):
        kind = token.lastgroup
        if kind == "open":
            depth += 1
        elif kind == "close":
            depth -= 1
        elif kind == "word" and depth == 0:
            yield token.group(), token.start(), token.end()


def closed(fragment: str) -> bool:
    """Whether a piece of SQL can stand within brackets: it opens all that it closes and hides nothing in comments."""
    depth = 0
    for token in _TOKEN.finditer(fragment.encode()):
        kind, text = token.lastgroup, token.group()
        depth += (kind == "open") - (kind == "close")
        if depth < 0 or text in (b";", b"'", b'"', b"`") or (kind == "space" and text.strip()):
            return False
    return depth == 0


def first_word(sql: str) -> str:
    """The first keyword of a statement, upper case; "" when it starts with something else."""
    found = next(_top_level_words(sql[:HEAD_LIMIT].encode()), None)
    return found[0].upper().decode() if found else ""


def before_settings(sql: str) -> tuple[str, str]:
    """A statement up to its SETTINGS clause, and that clause ("" when it has none)."""
    text = sql.encode()
    for word, start, _ in _top_level_words(text):
        if word.upper() == b"SETTINGS":
            return text[:start].decode(), text[start:].decode()
    return sql, ""


def result_format(sql: str) -> str:
    """The format that a statement names for its own result, or ""."""
    if "format" not in sql[-400:].lower():
        return ""
    found = ""
    words = _top_level_words(sql.encode())
    for word, _, _ in words:
        if word.upper() == b"FORMAT":
            name = next(words, None)
            found = name[0].decode() if name else ""
    return found


def _text(sql: bytes) -> str:
    try:
        return sql.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(SYNTAX_ERROR, "SYNTAX_ERROR", f"the statement is not UTF-8: {error}") from error


def quote(text: str) -> str:
    """A ClickHouse string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
