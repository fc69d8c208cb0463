"""What travels through Kafka: chunks of newline-delimited JSON, one event a line.

A line is also one row of ClickHouse's `events` table in `JSONEachRow`, so the sink hands the bytes on unchanged.
The fields that processors need stand at the top level and are decoded into `EventLine`; `properties` and `context` are
carried, never parsed again. Times are Unix seconds with milliseconds (`1763712000.123`). Money is whole millionths
(`amount_micros`), because a sum of integers is the same in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import xxhash

SLOTS: Final = 1024
"""Users are spread over this many slots; a slot's partition is `slot % partitions`, so growing keeps users together."""

CHUNK_HEADER: Final = "chunk"
COUNTS_HEADER: Final = "counts"
CORRECTION_HEADER: Final = "correction"
MICROS: Final = 1_000_000
LATE_AFTER_SECONDS: Final = 24 * 3600


class EventLine(msgspec.Struct, frozen=True, gc=False):
    """One accepted event, as processors see it: the fields of a line that some step reads. All others are skipped.

    Times: Unix seconds, UTC. `amount_micros`: millionths of the currency. `subtype`: the property that the pack
    declares as its sub-type (`view_type`, `engagement_type`, …). `backfill`: sent by `headrace backfill`, never late.
    """

    tenant: str
    event_id: str
    event_type: str
    timestamp: float
    received_at: float
    user_id: str
    pack: str = ""
    campaign_id: str = ""
    creative_id: str = ""
    segment: str = ""
    channel: str = ""
    subtype: str = ""
    amount_micros: int = 0
    is_holdout: bool = False
    backfill: bool = False


class RejectedLine(msgspec.Struct, frozen=True, gc=False):
    """One rejected event. `original` is its bytes as UTF-8 text, or base64 where `encoding` says so."""

    tenant: str
    received_at: float
    reason: str
    field: str
    message: str
    key_id: str
    chunk: int
    index: int
    event_id: str = ""
    event_type: str = ""
    original: str = ""
    encoding: str = "utf-8"


class LedgerLine(msgspec.Struct, frozen=True, gc=False):
    """One count of the ledger. Absolute: of two lines with the same key the higher `version` holds.

    `minute`: Unix seconds of the minute of receipt. `stage`: one of `schemas.ledger.STAGES` (received, abandoned,
    watermark, abandoned_chunks, recovered; accepted, rejected, duplicate, late, suppressed, dead_letter), which says
    what it counts. `origin`: the incarnation of the collector (the first five; abandoned_chunks: the first chunk), or
    the chunk that was counted (the others).
    """

    tenant: str
    minute: int
    stage: str
    reason: str
    origin: int
    n: int
    version: int


class WindowCell(msgspec.Struct, frozen=True, gc=False):
    """One cell of the one-minute rolling windows, absolute for its shard. `minute`: Unix seconds, event time."""

    tenant: str
    minute: int
    event_type: str
    subtype: str
    campaign_id: str
    creative_id: str
    segment: str
    channel: str
    shard: str
    events: int
    users: int
    amount_micros: int
    late: int
    version: int


class CorrectionLine(msgspec.Struct, frozen=True, gc=False):
    """An event was taken out of `events`: count its minute (Unix seconds, event time) and its user again.

    The rest is the key of its window cell: when nothing is left of that cell, it must be said that there is nothing.
    Records of such lines stand among the chunks, on the partition of their users, and have the header `correction`.
    """

    tenant: str
    minute: int
    user_id: str
    event_type: str
    subtype: str
    campaign_id: str
    creative_id: str
    segment: str
    channel: str


class ChunkCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How many lines of a chunk belong to a tenant and minute; `reason` is empty for accepted events."""

    tenant: str
    minute: int
    reason: str
    n: int


_counts_decoder: Final = msgspec.json.Decoder(list[ChunkCount])
_encoder: Final = msgspec.json.Encoder()
_correction_decoder: Final = msgspec.json.Decoder(CorrectionLine)
_event_decoder: Final = msgspec.json.Decoder(EventLine)


def slot_of(tenant: str, user_id: str) -> int:
    """The slot (0..SLOTS-1) of a user. Stable for ever: stored rows carry it."""
    return int(xxhash.xxh64_intdigest(f"{tenant}\0{user_id}".encode()) % SLOTS)


def id_hash(tenant: str, event_id: str) -> int:
    """64-bit fingerprint of an event id; equals ClickHouse's `xxHash64(concat(tenant, '\\0', event_id))`."""
    return int(xxhash.xxh64_intdigest(f"{tenant}\0{event_id}".encode()))


def encode_counts(counts: Sequence[ChunkCount]) -> bytes:
    """The `counts` header of a chunk."""
    return msgspec.json.encode(counts)


def decode_counts(header: bytes) -> list[ChunkCount]:
    """Inverse of `encode_counts`; raises `msgspec.DecodeError` on anything else."""
    return _counts_decoder.decode(header)


def decode_events(chunk: bytes) -> list[EventLine]:
    """The events of a chunk, in order; raises `msgspec.DecodeError` when a line is not an event."""
    return _event_decoder.decode_lines(chunk)


def decode_corrections(record: bytes) -> list[CorrectionLine]:
    """The lines of a correction; raises `msgspec.DecodeError` on anything else."""
    return _correction_decoder.decode_lines(record)


def encode_lines(rows: Iterable[msgspec.Struct]) -> bytes:
    """Structs as newline-delimited JSON, each line ended."""
    return _encoder.encode_lines(list(rows))
