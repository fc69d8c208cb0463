"""Records to chunks. A record that is not a chunk is poison: it is set aside with its reason, and costs no other."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from schemas.errors import Permanent
from schemas.wire import CHUNK_HEADER, COUNTS_HEADER, decode_counts, decode_events
from stream_processors.batch import Batch, Chunk
from stream_processors.ports import Record


def decode_batch(records: Sequence[Record]) -> Batch:
    """Decode each record; those that cannot be decoded go to `Batch.poison` as (partition, offset, why)."""
    batch = Batch(chunks=[])
    for record in records:
        try:
            batch.chunks.append(decode_chunk(record))
        except Permanent as error:
            batch.poison.append((record.partition, record.offset, str(error)))
    return batch


def decode_chunk(record: Record) -> Chunk:
    """One chunk; raises `Permanent` when headers or lines are broken or their counts disagree."""
    place = f"partition {record.partition} offset {record.offset}"
    try:
        number = int(record.headers[CHUNK_HEADER])
        counts = decode_counts(record.headers[COUNTS_HEADER])
        events = decode_events(record.value)
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        raise Permanent(f"{place}: not a chunk of events: {type(error).__name__}: {error}") from error
    declared = sum(count.n for count in counts)
    if declared != len(events):
        raise Permanent(f"{place}: the header declares {declared} events, the chunk holds {len(events)}")
    return Chunk(record.partition, record.offset, number, record.value, counts, events)
