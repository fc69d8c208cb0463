"""The pipeline object: the ledger in the words of the API."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from api.ledger import Book, LedgerReader
from api.times import iso

LIVE_RANGE: Final = 86_400_000
LIVE_FRESHNESS: Final = 300_000
"""The live object is about the last 24 hours; its freshness about the last five minutes. Milliseconds."""


async def read_pipeline(ledger: LedgerReader, tenant: str, start_ms: int, end_ms: int) -> dict[str, Any]:
    """The object of `GET /pipeline`, everything read now. Raises what the reader raises."""
    book, freshness, rate, as_of = await asyncio.gather(
        ledger.book(tenant, start_ms, end_ms),
        ledger.freshness(tenant, start_ms, end_ms),
        ledger.rate(tenant),
        ledger.as_of(tenant),
    )
    return _object(ledger, book, start_ms, end_ms, freshness, rate, as_of)


async def live_pipeline(ledger: LedgerReader, tenant: str, now_ms: int, as_of: int | None) -> dict[str, Any]:
    """The same for the live stream, cheap enough to be asked every second."""
    start = now_ms - LIVE_RANGE
    book, freshness, rate = await asyncio.gather(
        ledger.recent(tenant, start, now_ms),
        ledger.freshness(tenant, now_ms - LIVE_FRESHNESS, now_ms),
        ledger.rate(tenant),
    )
    return _object(ledger, book, start, now_ms, freshness, rate, as_of)


def _object(
    ledger: LedgerReader,
    book: Book,
    start_ms: int,
    end_ms: int,
    freshness: dict[str, float | None],
    rate: float,
    as_of: int | None,
) -> dict[str, Any]:
    sums, closed = book.all, book.closed
    return {
        "start": iso(start_ms),
        "end": iso(end_ms),
        "received": sums.received,
        "accepted": sums.accepted,
        "rejected": sums.rejected,
        "duplicates": sums.duplicates,
        "late": sums.late,
        "stored": sums.stored,
        "dead_letters": sums.dead_letters,
        "in_flight": max(0, sums.expected - sums.settled),
        "freshness_seconds": freshness,
        "difference": {
            "received": closed.received - closed.accepted - sum(closed.rejected.values()),
            "accepted": closed.accepted - closed.settled,
        },
        "closed_until": iso(ledger.closed_until()),
        "events_per_second": rate,
        "as_of": iso(as_of),
    }
