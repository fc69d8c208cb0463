"""What has to be said, in order, kept until it is said: rows, events, and calls that come after them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from schemas.errors import Permanent
from stream_processors.ports import PublisherPort, WarehousePort

log = logging.getLogger("headrace.watcher")

MOST: Final = 10_000
"""Things that may wait; beyond it the oldest are given up, with an error in the log."""


class Outbox:
    """A queue of blocking calls. `send` raises `Retryable` and keeps what was not said; a refused one is logged."""

    def __init__(self, warehouse: WarehousePort, publisher: PublisherPort) -> None:
        self._warehouse = warehouse
        self._publisher = publisher
        self._waiting: deque[tuple[str, Callable[[], object]]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, table: str, ndjson: bytes) -> None:
        """Rows for a table."""
        if ndjson:
            self._put(f"rows of {table}", lambda: self._warehouse.insert_lines(table, ndjson))

    def publish(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Events of a tenant."""
        if events:
            self._put("events", lambda: self._publisher.publish(tenant, events))

    def after(self, call: Callable[[], object]) -> None:
        """A call for when everything before it is said."""
        self._put("a call", call)

    def send(self) -> None:
        """Say what waits, oldest first."""
        while self._waiting:
            what, call = self._waiting[0]
            try:
                call()
            except Permanent as error:
                log.error("%s were refused and are left out: %s", what, error)
            self._waiting.popleft()

    def _put(self, what: str, call: Callable[[], object]) -> None:
        if len(self._waiting) >= MOST:
            dropped, _ = self._waiting.popleft()
            log.error("too much waits to be said; %s are left out", dropped)
        self._waiting.append((what, call))
