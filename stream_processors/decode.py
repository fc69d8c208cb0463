"""Records to chunks and corrections. What is neither is poison: set aside with its reason, it costs no other."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from schemas.errors import Permanent
from schemas.wire import (
    CHUNK_HEADER,
    CORRECTION_HEADER,
    COUNTS_HEADER,
    CorrectionLine,
    decode_corrections,
    decode_counts,
    decode_events,
)
from stream_processors.batch import Batch, Chunk
from stream_processors.ports import Record


def decode_batch(records: Sequence[Record]) -> Batch:
    """Decode each record.

    Corrections go to `Batch.corrections`; what cannot be decoded to `Batch.poison`, as (partition, offset, why).
    """
    batch = Batch(chunks=[])
    for record in records:
        try:
            if CORRECTION_HEADER in record.headers:
                if lines := _decode_correction(record):
                    batch.corrections.setdefault(record.partition, []).extend(lines)
            else:
                batch.chunks.append(decode_chunk(record))
        except Permanent as error:
            batch.poison.append((record.partition, record.offset, str(error)))
    return batch


def _decode_correction(record: Record) -> list[CorrectionLine]:
    try:
        return decode_corrections(record.value)
    except msgspec.DecodeError as error:
        raise Permanent(f"partition {record.partition} offset {record.offset}: not a correction: {error}") from error


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
