"""The API's only door to ClickHouse: bounded, read-only, with bound parameters.

Reads: whatever the query builder asks. Writes: nothing; every statement runs with `readonly=1`, which also shuts table
functions such as `file` and `url`. Bounds: run time, result rows, memory, concurrent and waiting queries. On failure:
`WarehouseAway` (try again), `TooMuch` (ask for less), `QueryFailed` (a fault of ours). Nothing here knows tenants; the
builders put the tenant of the key into every statement.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.httputil import get_pool_manager

from api.settings import ReaderSettings
from schemas.errors import ConfigError, Permanent, Retryable

Row = Sequence[Any]
Params = Mapping[str, Any]

_CODE: Final = re.compile(r"(?:error code|Code:)\s*(\d+)")
_TOO_MUCH: Final = {158, 159, 160, 241, 307, 396}
"""Rows to read, time, speed, memory, bytes to read, rows or bytes of the result."""
_PASSING: Final = {202, 209, 210, 236, 242, 243, 252, 279, 425, 439, 999}
"""Too many queries, time-outs, network, aborted, read-only table, no space, too many parts, no thread."""


class WarehouseAway(Retryable):
    """ClickHouse does not answer, or too many reads wait already."""


class TooMuch(Permanent):
    """The question needs more time, memory or rows than one read may use."""


class QueryFailed(Permanent):
    """ClickHouse refused a statement; a fault of ours, not of the caller."""


class Spent(NamedTuple):
    """What all queries took together, by what the warehouse says: how many, seconds, bytes that it read."""

    queries: int = 0
    seconds: float = 0.0
    bytes: int = 0


class Reader(Protocol):
    """What the rest of `api` knows of ClickHouse."""

    async def rows(self, sql: str, params: Params) -> list[Row]:
        """The rows of one SELECT with `{name:Type}` places. Raises WarehouseAway, TooMuch or QueryFailed."""
        ...

    async def ping(self) -> bool:
        """Whether ClickHouse answers; never raises."""
        ...


class ClickHouseReader:
    """`Reader` over HTTP: a small pool of threads, each with its own client, all over kept-alive connections."""

    def __init__(self, settings: ReaderSettings) -> None:
        self._settings = settings
        self._address = _address(settings.url)
        self._pool = get_pool_manager(maxsize=settings.threads)
        self._local = threading.local()
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="reader")
        self._busy = 0
        self._lock = threading.Lock()
        self._known: dict[str, Any] = {}
        self.spent = Spent()
        self._limits = {
            "readonly": 1,
            "max_execution_time": settings.max_seconds,
            "max_result_rows": settings.max_rows,
            "result_overflow_mode": "throw",
            "max_memory_usage": settings.max_memory,
            # Both are exact here: partitions follow from the sorting key, and only conditions on it move before FINAL.
            "do_not_merge_across_partitions_select_final": 1,
            "optimize_move_to_prewhere_if_final": 1,
        }

    async def rows(self, sql: str, params: Params) -> list[Row]:
        """See `Reader`."""
        if self._busy >= self._settings.threads + self._settings.queue:
            raise WarehouseAway("too many questions are waiting; try again in a moment")
        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._rows, sql, params)
        finally:
            self._busy -= 1

    async def ping(self) -> bool:
        """See `Reader`."""
        try:
            return await self.rows("SELECT 1", {}) == [(1,)]
        except (WarehouseAway, TooMuch, QueryFailed):
            return False

    def close(self) -> None:
        """Let running queries end, then close the connections."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._pool.clear()

    def _rows(self, sql: str, params: Params) -> list[Row]:
        try:
            result = self._client().query(sql, parameters=dict(params), settings=self._limits)
            self._note(result.summary)
            return list(result.result_rows)
        except ClickHouseError as error:
            raise _classified(error) from error
        except OSError as error:
            raise WarehouseAway(f"ClickHouse does not answer: {type(error).__name__}") from error

    def _note(self, summary: Mapping[str, Any]) -> None:
        seconds, size = int(summary.get("elapsed_ns", 0)) / 1e9, int(summary.get("read_bytes", 0))
        with self._lock:
            self.spent = Spent(self.spent.queries + 1, self.spent.seconds + seconds, self.spent.bytes + size)

    def _client(self) -> Client:
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = clickhouse_connect.get_client(
                **self._address,
                username=self._settings.user,
                password=self._settings.password.get_secret_value(),
                pool_mgr=self._pool,
                compress=False,
                connect_timeout=self._settings.connect_timeout,
                send_receive_timeout=self._settings.max_seconds + 5,
                autogenerate_session_id=False,
                client_name="headrace-api",
                query_limit=0,
            )
            # Each has read the server's 1,800 settings, some 0.8 MiB, and they are the same.
            self._known = client.server_settings = self._known or client.server_settings
        return client


def _classified(error: ClickHouseError) -> WarehouseAway | TooMuch | QueryFailed:
    text = " ".join(str(error.__cause__ or error).split())
    found = _CODE.search(text) or _CODE.search(str(error))
    code = int(found.group(1)) if found else None
    if code in _TOO_MUCH:
        return TooMuch(
            "this needs more time, memory or rows than one read may use; ask for a shorter range or fewer groups"
        )
    if code is None or code in _PASSING:
        return WarehouseAway("ClickHouse does not answer" if code is None else f"ClickHouse is busy (code {code})")
    return QueryFailed(f"ClickHouse refused the statement (code {code}): {text[:300]}")


def _address(url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("this is no URL with a port", key="reader.url") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("write http://host:port or https://host:port/database", key="reader.url")
    return {
        "interface": parts.scheme,
        "host": parts.hostname,
        "port": port or (8443 if parts.scheme == "https" else 8123),
        "database": unquote(parts.path.strip("/")) or "default",
    }
