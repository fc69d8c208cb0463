"""What the processors need from outside; `deploy` passes implementations in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from schemas.wire import LedgerLine, RejectedLine


class Record(NamedTuple):
    """One Kafka record. `value`: the chunk's bytes; `headers`: as produced."""

    partition: int
    offset: int
    value: bytes
    headers: Mapping[str, bytes]


class WarehousePort(Protocol):
    """The warehouse. Every call blocks; inserts are durable when they return. Raises `Retryable` or `Permanent`."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]: ...

    def query_bytes(self, sql: str, fmt: str) -> bytes:
        """The raw bytes of a result in a ClickHouse format."""
        ...

    def insert_lines(self, table: str, ndjson: bytes) -> None:
        """Store rows; nothing for no bytes."""
        ...

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> None: ...


class SinkPort(Protocol):
    """Durable writes of the event path: events first, then ledger, then rejected. Retries passing faults for ever."""

    def write(self, events: bytes, ledger: Sequence[LedgerLine], rejected: Sequence[RejectedLine]) -> None: ...


class EmitPort(Protocol):
    """Produces internal records."""

    def emit(self, topic: str, value: bytes) -> None:
        """Block until Kafka has the record. Raises `Retryable`."""
        ...


class PublisherPort(Protocol):
    """Publishes the system's own events through the same validation and topics as anybody's."""

    def publish(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Block until Kafka has the events. Raises `Retryable`, or `Permanent` when one is refused."""
        ...
