"""Exact deduplication by (tenant, event_id), telling a duplicate from a replay.

A chunk that is read again after a crash brings ids that it brought itself: a replay, counted nowhere. An id that
another chunk brought (or this chunk, earlier in it) is a duplicate: kept apart, and counted in the ledger under the
chunk, so that the count, too, is the same however often the chunk is read. Ids of other partitions are unknown here:
the same id under another user is found afterwards (`stream_processors.watch.conflicts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from schemas.wire import EventLine, LedgerLine
from stream_processors.batch import Batch, Chunk
from stream_processors.ids import IdIndex


def deduplicate(batch: Batch, ids: Mapping[int, IdIndex]) -> None:
    """Set what of each chunk is fresh, own and duplicate; add its `accepted` and `duplicate` ledger lines."""
    _learn(batch, ids)
    for chunk in batch.chunks:
        _deduplicate_chunk(chunk, ids[chunk.partition], batch)
        batch.ledger.extend(
            LedgerLine(count.tenant, count.minute, "accepted", "", chunk.number, count.n, 1) for count in chunk.counts
        )


def _learn(batch: Batch, ids: Mapping[int, IdIndex]) -> None:
    for chunk in batch.chunks:
        for tenant, event_ids in chunk.ids_by_tenant.items():
            ids[chunk.partition].learn_stored(tenant, event_ids)


def _deduplicate_chunk(chunk: Chunk, index: IdIndex, batch: Batch) -> None:
    if len(chunk.ids_by_tenant) == 1:
        ((tenant, event_ids),) = chunk.ids_by_tenant.items()
        if index.all_new(tenant, event_ids):
            index.remember_all(tenant, event_ids, chunk.number)
            chunk.fresh, chunk.fresh_lines, chunk.own = chunk.events, chunk.value, chunk.events
            return
    _deduplicate_one_by_one(chunk, index, batch)


def _deduplicate_one_by_one(chunk: Chunk, index: IdIndex, batch: Batch) -> None:
    fresh: list[EventLine] = []
    own: list[EventLine] = []
    lines: list[bytes] = []
    again: list[bytes] = []
    here: set[tuple[str, str]] = set()
    duplicates: Counter[tuple[str, int]] = Counter()
    for event, line in zip(chunk.events, chunk.value.splitlines(keepends=True), strict=True):
        key = (event.tenant, event.event_id)
        origin = index.origin_of(*key)
        if origin is None:
            index.remember(event.tenant, event.event_id, chunk.number)
            fresh.append(event)
            own.append(event)
            lines.append(line)
        elif origin != chunk.number or key in here:
            duplicates[event.tenant, int(event.received_at) // 60 * 60] += 1
            again.append(line)
        else:
            own.append(event)
        here.add(key)
    chunk.fresh, chunk.fresh_lines, chunk.own = fresh, b"".join(lines), own
    chunk.duplicate_lines = b"".join(again)
    batch.ledger.extend(
        LedgerLine(tenant, minute, "duplicate", "", chunk.number, n, 1) for (tenant, minute), n in duplicates.items()
    )
