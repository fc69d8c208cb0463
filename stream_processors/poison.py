"""Records that are no chunks: kept whole as dead letters, counted where their header can be read."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import astuple

from schemas import topics
from schemas.clock import Clock
from schemas.reasons import Reason
from schemas.wire import CHUNK_HEADER, COUNTS_HEADER, ChunkCount, LedgerLine, RejectedLine, decode_counts
from stream_processors.ports import Record

_INDEXES: Final[Mapping[str, int]] = {topics.EVENTS: 0, topics.REJECTED: 1, topics.LEDGER: 2}
"""Tells records of the same place in several topics apart."""
_OLDEST_SECONDS: Final = 30 * 86400.0
_AHEAD_SECONDS: Final = 86400.0


def unreadable(topic: str, record: Record, clock: Clock, why: str) -> RejectedLine:
    """The dead letter of a record, with all of its bytes (Kafka takes none over 1 MB). `field` names the topic.

    The chunk number is its place in the topic, and its time that of the record, so reading it again changes nothing.
    """
    counts = counts_of(record)
    tenants = {count.tenant for count in counts}
    return RejectedLine(
        tenant=tenants.pop() if len(tenants) == 1 else "",
        received_at=round(_received(record, clock.now()), 3),
        reason=Reason.UNREADABLE_CHUNK,
        field=topic,
        message=why,
        key_id="",
        chunk=record.partition << 48 | record.offset,
        index=_INDEXES[topic],
        original=base64.b64encode(record.value).decode(),
        encoding="base64",
    )


def _received(record: Record, now: float) -> float:
    """The record's own time where that can be: dead letters of long ago are dropped at once, by age."""
    return record.timestamp if now - _OLDEST_SECONDS < record.timestamp < now + _AHEAD_SECONDS else now


def counts_of(record: Record) -> list[ChunkCount]:
    """What the header says that the record holds; nothing when that is unreadable, too."""
    try:
        int(record.headers[CHUNK_HEADER])
        return decode_counts(record.headers[COUNTS_HEADER])
    except (KeyError, ValueError, msgspec.DecodeError):
        return []


def lost_counts(records: Sequence[Record]) -> list[LedgerLine]:
    """Ledger lines of unreadable chunks, so that the minutes of those who sent them balance.

    Rejected events stay rejected, though nobody can say why any more; accepted ones are accepted, and dead letters.
    """
    unread = Reason.UNREADABLE_CHUNK
    counts: Counter[tuple[str, int, str, str, int]] = Counter()
    for record in records:
        for tenant, minute, reason, n in map(astuple, counts_of(record)):
            number = int(record.headers[CHUNK_HEADER])
            if reason:
                counts[tenant, minute, "rejected", unread, number] += n
                continue
            counts[tenant, minute, "accepted", "", number] += n
            counts[tenant, minute, "dead_letter", unread, number] += n
    return [LedgerLine(*key, n, 1) for key, n in counts.items()]
