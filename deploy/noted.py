"""The warehouse of a worker, with its outages noted for the watchdog: waiting for it is no stall."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from schemas.errors import Retryable
from sinks.settings import WarehouseSettings
from sinks.warehouse import Warehouse
from stream_processors.watchdog import Outage


class NotedWarehouse:
    """`Warehouse` as workers use it. What passes (`Retryable`) is noted in `outage` and raised on."""

    def __init__(self, settings: WarehouseSettings, outage: Outage) -> None:
        self._warehouse, self._outage = Warehouse(settings), outage

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        with self._noted():
            return self._warehouse.query(sql, params)

    def query_bytes(self, sql: str, fmt: str) -> bytes:
        with self._noted():
            return self._warehouse.query_bytes(sql, fmt)

    def insert_lines(self, table: str, ndjson: bytes) -> None:
        with self._noted():
            self._warehouse.insert_lines(table, ndjson)

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> None:
        with self._noted():
            self._warehouse.command(sql, params)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except Retryable:
            self._outage.note()
            raise
