"""A thin client over the ClickHouse HTTP interface.

Reads: what a caller asks. Writes: newline-delimited JSON, as it came. Guarantee: an insert that returned is stored
(`async_insert=0`; the server answers after the part is written); one that raised may be stored in part or whole, so
tables are Replacing and callers send the same rows again. On failure: `WarehouseBusy` (try again), `RowsRefused` or
`RequestRefused` (do not), `Fatal` (wrong user or password). Times come back as Unix seconds, never as datetimes.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.httputil import get_pool_manager

from schemas.errors import ConfigError
from schemas.wire import encode_lines
from sinks.codes import classify
from sinks.settings import WarehouseSettings

INSERT_SETTINGS: Final[Mapping[str, int]] = {
    "async_insert": 0,
    "input_format_json_read_objects_as_strings": 1,
    "input_format_skip_unknown_fields": 1,
    # Repetitions within an insert wait for FINAL, like all others; collapsing them here costs a sixth of the insert.
    "optimize_on_insert": 0,
    # History of many years in one batch is many months, that is many partitions.
    "max_partitions_per_insert_block": 1000,
}
_TABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_ERROR_TEXT: Final = 500


class Warehouse:
    """Every call blocks. Safe to share: each call has a client of its own, over one pool of kept-alive connections.

    There are as many clients as there were calls at the same time. Each reads the server's 1,800 settings, some
    0.8 MiB, and only reads them; so they share those that the first one found.
    """

    def __init__(self, settings: WarehouseSettings | str) -> None:
        self._settings = WarehouseSettings(url=settings) if isinstance(settings, str) else settings
        self._address = _address(self._settings.url)
        self._pool = get_pool_manager(maxsize=16)
        self._idle: deque[Client] = deque()
        self._known: dict[str, Any] = {}

    @property
    def database(self) -> str:
        """The database that the URL names; `default` where it names none."""
        return str(self._address["database"])

    def insert_lines(self, table: str, ndjson: bytes, settings: Mapping[str, Any] | None = None) -> None:
        """Store rows given as newline-delimited JSON objects; nothing for an empty body."""
        if not ndjson.strip():
            return
        _check_table(table)
        with self._errors(f"insert into {table}", table), self._client() as client:
            client.raw_insert(
                table, insert_block=ndjson, fmt="JSONEachRow", settings={**INSERT_SETTINGS, **(settings or {})}
            )

    def insert_rows(self, table: str, rows: Iterable[msgspec.Struct]) -> None:
        """Store structs whose fields are the table's columns."""
        self.insert_lines(table, encode_lines(rows))

    def query(
        self, sql: str, params: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Rows of a statement with `{name:Type}` places, bound by the server. DateTime columns: Unix seconds."""
        with self._errors("query", ""), self._client() as client:
            result = client.query(sql, parameters=dict(params or {}), settings=dict(settings or {}))
            return _rows(result.column_names, [kind.name for kind in result.column_types], result.result_rows)

    def query_bytes(self, sql: str, fmt: str, params: Mapping[str, Any] | None = None) -> bytes:
        """The result's bytes in a ClickHouse format, for large reads."""
        with self._errors("query", ""), self._client() as client:
            return bytes(client.raw_query(sql, parameters=dict(params or {}), fmt=fmt))

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> None:
        """Run a statement that answers nothing (DDL, ALTER)."""
        with self._errors("command", ""), self._client() as client:
            client.command(sql, parameters=dict(params or {}))

    def create_database(self) -> None:
        """Create the URL's database if it is not there yet."""
        if not _TABLE.match(self.database):
            raise ConfigError(f"{self.database!r} is no database name", key="warehouse.url")
        with self._errors(f"create database {self.database}", ""):
            client = self._connect(database="default")
            client.command(f"CREATE DATABASE IF NOT EXISTS {self.database}")

    def ping(self) -> bool:
        """Whether the warehouse answers. Never raises for an absent server."""
        try:
            with self._client() as client:
                return bool(client.ping())
        except (ClickHouseError, OSError):
            return False

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        self._idle.clear()
        self._pool.clear()

    @contextmanager
    def _client(self) -> Iterator[Client]:
        """The client that was given back last, or a new one."""
        try:
            client = self._idle.pop()
        except IndexError:
            client = self._connect(self.database)
        try:
            yield client
        finally:
            self._idle.append(client)

    def _connect(self, database: str) -> Client:
        address = self._address
        client = clickhouse_connect.get_client(
            interface=address["interface"],
            host=address["host"],
            port=address["port"],
            username=address["user"] or self._settings.user,
            password=address["password"] or self._settings.password.get_secret_value(),
            database=database,
            pool_mgr=self._pool,
            compress=False,
            connect_timeout=self._settings.connect_timeout,
            send_receive_timeout=self._settings.answer_timeout,
            autogenerate_session_id=False,
            client_name="headrace",
        )
        self._known = client.server_settings = self._known or client.server_settings
        return client

    @contextmanager
    def _errors(self, what: str, table: str) -> Iterator[None]:
        place = f"{what} at {self._address['host']}:{self._address['port']}"
        try:
            yield
        except ClickHouseError as error:
            cause = error.__cause__ or error
            text = " ".join(str(cause).split())[:_ERROR_TEXT]
            raise classify(getattr(error, "code", None), text, place=place, table=table) from error
        except OSError as error:
            raise classify(None, f"{type(error).__name__}: {error}", place=place, table=table) from error


def _address(url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("this is no URL with a port", key="warehouse.url") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("write http://host:port or https://host:port/database", key="warehouse.url")
    return {
        "interface": parts.scheme,
        "host": parts.hostname,
        "port": port or (8443 if parts.scheme == "https" else 8123),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": parts.path.strip("/") or "default",
    }


def _check_table(table: str) -> None:
    if not _TABLE.match(table):
        raise ValueError(f"{table!r} is no table name")


def _rows(names: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    found = [dict(zip(names, row, strict=True)) for row in rows]
    for name in (name for name, kind in zip(names, types, strict=True) if "DateTime" in kind):
        for row in found:
            row[name] = _unix(row[name])
    return found


def _unix(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, (list, tuple)):
        return [_unix(item) for item in value]
    return value
