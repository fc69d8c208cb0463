"""Late tagging: an event received over 24 h after it happened is kept, tagged, counted, and corrects history.

The tag itself is a column that ClickHouse derives from the same two times (`events.late_arrival`).
"""

from __future__ import annotations

from collections import Counter

from schemas.wire import LATE_AFTER_SECONDS, EventLine, LedgerLine
from stream_processors.batch import Batch


def is_late(event: EventLine) -> bool:
    """Whether the event came late. Backfilled events are old on purpose and never late."""
    return event.received_at - event.timestamp > LATE_AFTER_SECONDS and not event.backfill


def tag_late(batch: Batch) -> None:
    """Add a `late` ledger line for each chunk, tenant and minute of receipt that brought late events.

    Events that are stored already count again when their own chunk is replayed: the crash may have come between them
    and their count.
    """
    for chunk in batch.chunks:
        some = [e for e in chunk.own or () if e.received_at - e.timestamp > LATE_AFTER_SECONDS]
        if some:
            late = Counter((e.tenant, int(e.received_at) // 60 * 60) for e in some if is_late(e))
            batch.ledger.extend(
                LedgerLine(tenant, minute, "late", "", chunk.number, n, 1) for (tenant, minute), n in late.items()
            )
