"""What the processors need from outside; `deploy` passes implementations in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from schemas.wire import LedgerLine, RejectedLine


class Record(NamedTuple):
    """One Kafka record. `value`: the chunk's bytes; `headers`: as produced; `timestamp`: Unix seconds, 0 unknown."""

    partition: int
    offset: int
    value: bytes
    headers: Mapping[str, bytes]
    timestamp: float = 0.0


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
    """Durable writes of the event path: events, duplicates, rejected, then ledger. Retries passing faults for ever."""

    def write(
        self,
        events: bytes,
        ledger: Sequence[LedgerLine],
        rejected: Sequence[RejectedLine],
        duplicates: bytes = b"",
    ) -> Sequence[RejectedLine]:
        """Returns the dead letters that the warehouse's refusal of some events made. Raises `Flood` for too many."""
        ...


class EmitPort(Protocol):
    """Produces internal records."""

    def emit(self, topic: str, value: bytes) -> None:
        """Block until Kafka has the record. Raises `Retryable`."""
        ...


class CorrectionPort(Protocol):
    """Puts corrections (`schemas.wire.CorrectionLine`) among the events."""

    def partitions(self) -> int:
        """How many partitions events have. Blocks; raises `Retryable`."""
        ...

    def correct(self, partition: int, value: bytes) -> None:
        """Block until Kafka has the lines. Raises `Retryable`."""
        ...


class PublisherPort(Protocol):
    """Publishes the system's own events through the same validation and topics as anybody's."""

    def publish(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Block until Kafka has the events. Raises `Retryable`, or `Permanent` when one is refused."""
        ...


class Waiting(NamedTuple):
    """What a topic holds that its consumers have not acknowledged.

    `events`: those in the `chunks`, exact when all of them were `looked_into`, else by the mean of these.
    """

    chunks: int
    events: int
    looked_into: int


class LagPort(Protocol):
    """How far the workers are behind."""

    def waiting(self) -> Mapping[str, Waiting]:
        """By topic. Blocks; raises `Retryable`."""
        ...


class PagePort(Protocol):
    """Reads pages of Prometheus metrics over HTTP."""

    def text(self, url: str) -> str:
        """What is at `url`. Blocks; raises `Retryable` when there is no answer, or not 200."""
        ...


class Disk(NamedTuple):
    """A disk that data is written to, and how many bytes it has, in all and still to be written by us."""

    name: str
    path: str
    total: int
    free: int


class DiskPort(Protocol):
    """Looks at the disk of the data folder."""

    def disk(self) -> Disk:
        """Raises `Retryable` when it cannot be told."""
        ...
