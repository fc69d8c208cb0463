"""Stored events as chunks again, slice by slice in the order in which they were received.

A slice is a stretch of ingestion time with about `SLICE_EVENTS` events (more only where one second brought more), so
memory stays bounded whatever is replayed. Within a slice and partition the order is by (`received_at`, chunk, event
id): the same on every run. Each stored event is there once, so nothing is left to deduplicate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from deploy.replay.request import Span
from schemas.wire import ChunkCount, EventLine, decode_events
from sinks.warehouse import Warehouse
from stream_processors.batch import Chunk
from stream_processors.sql import moment

SLICE_EVENTS: Final = 200_000

_FIELDS: Final = ", ".join(
    f"toUnixTimestamp64Milli({name}) / 1000 AS {name}" if name in ("timestamp", "received_at") else name
    for name in EventLine.__struct_fields__
)
_PLAIN: Final = "SETTINGS prefer_column_name_to_alias = 1, output_format_json_quote_64bit_integers = 0"


@dataclass(frozen=True)
class Slice:
    """Events received from `first` to before `last`; their times lie in [`oldest`, `newest`]. All Unix seconds."""

    first: float
    last: float
    events: int
    oldest: float
    newest: float


def count(warehouse: Warehouse, span: Span) -> int:
    """Events of the span."""
    return int(warehouse.query(f"SELECT count() AS n FROM events FINAL WHERE {span.condition('timestamp')}")[0]["n"])


def slices(warehouse: Warehouse, span: Span, most: int = SLICE_EVENTS) -> Iterator[Slice]:
    """The span's events in slices of about `most`, in order."""
    current: Slice | None = None
    for piece in _pieces(warehouse, span, most):
        if current is not None and current.events + piece.events > most:
            yield current
            current = None
        current = piece if current is None else _joined(current, piece)
    if current is not None:
        yield current


def chunks(warehouse: Warehouse, span: Span, one: Slice, partitions: int) -> Iterator[Chunk]:
    """One chunk for each partition that has events in the slice, all of them fresh."""
    for partition in range(partitions):
        lines = warehouse.query_bytes(
            f"SELECT {_FIELDS} FROM events FINAL WHERE slot % {partitions} = {partition}"
            f" AND received_at >= {moment(one.first)} AND received_at < {moment(one.last)}"
            f" AND timestamp >= {moment(one.oldest)} AND timestamp <= {moment(one.newest)}"
            f" AND {span.condition('timestamp')} ORDER BY received_at, chunk, event_id {_PLAIN}",
            "JSONEachRow",
        )
        if lines:
            yield _chunk(partition, lines)


def _chunk(partition: int, lines: bytes) -> Chunk:
    events = decode_events(lines)
    tenants = Counter(event.tenant for event in events)
    counts = [ChunkCount(tenant, 0, "", n) for tenant, n in sorted(tenants.items())]
    return Chunk(partition, 0, 0, lines, counts, events, fresh=events, fresh_lines=lines, own=events)


def _pieces(warehouse: Warehouse, span: Span, most: int) -> Iterator[Slice]:
    """Minutes of receipt, those with more than `most` events by the second."""
    for minute in _histogram(warehouse, span, 60, "1"):
        if minute.events <= most:
            yield minute
        else:
            within = f"received_at >= {moment(minute.first)} AND received_at < {moment(minute.last)}"
            yield from _histogram(warehouse, span, 1, within)


def _histogram(warehouse: Warehouse, span: Span, seconds: int, condition: str) -> Iterator[Slice]:
    rows = warehouse.query(
        f"SELECT intDiv(toUnixTimestamp(received_at), {seconds}) AS number, count() AS n,"
        " min(timestamp) AS oldest, max(timestamp) AS newest FROM events"
        f" WHERE {span.condition('timestamp')} AND {condition} GROUP BY number ORDER BY number"
    )
    for row in rows:
        first = float(row["number"]) * seconds
        yield Slice(first, first + seconds, int(row["n"]), float(row["oldest"]), float(row["newest"]))


def _joined(one: Slice, other: Slice) -> Slice:
    return Slice(
        one.first,
        other.last,
        one.events + other.events,
        min(one.oldest, other.oldest),
        max(one.newest, other.newest),
    )
