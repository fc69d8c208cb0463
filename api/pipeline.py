"""The pipeline object: the ledger in the words of the API."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from api.ledger import LedgerReader
from api.sums import Book
from api.times import iso

LIVE_RANGE: Final = 86_400_000
LIVE_FRESHNESS: Final = 300_000
"""The live object is about the last 24 hours; its freshness about the last five minutes. Milliseconds."""


async def read_pipeline(ledger: LedgerReader, tenant: str, start_ms: int, end_ms: int) -> dict[str, Any]:
    """The object of `GET /pipeline`, everything read now. Raises what the reader raises."""
    book, freshness, more, as_of = await asyncio.gather(
        ledger.book(tenant, start_ms, end_ms),
        ledger.freshness(tenant, start_ms, end_ms),
        _more(ledger, tenant, start_ms, end_ms),
        ledger.as_of(tenant),
    )
    return {**_object(ledger, book, start_ms, end_ms), "freshness_seconds": freshness, "as_of": iso(as_of), **more}


async def live_pipeline(ledger: LedgerReader, tenant: str, now_ms: int, as_of: int | None) -> dict[str, Any]:
    """The same for the live stream, cheap enough to be asked every second."""
    start = now_ms - LIVE_RANGE
    book, freshness, more = await asyncio.gather(
        ledger.recent(tenant, start, now_ms),
        ledger.freshness(tenant, now_ms - LIVE_FRESHNESS, now_ms),
        _more(ledger, tenant, start, now_ms),
    )
    return {**_object(ledger, book, start, now_ms), "freshness_seconds": freshness, "as_of": iso(as_of), **more}


async def _more(ledger: LedgerReader, tenant: str, start_ms: int, end_ms: int) -> dict[str, Any]:
    rate, conflicts, reconciled = await asyncio.gather(
        ledger.rate(tenant), ledger.conflicts(tenant, start_ms, end_ms), ledger.reconciled(tenant, start_ms, end_ms)
    )
    return {"events_per_second": rate, "conflicts": conflicts, "reconciliation": reconciled}


def _object(ledger: LedgerReader, book: Book, start_ms: int, end_ms: int) -> dict[str, Any]:
    sums = book.all
    return {
        "start": iso(start_ms),
        "end": iso(end_ms),
        "received": sums.received,
        "recovered": sums.recovered,
        "abandoned": sums.abandoned,
        "accepted": sums.accepted,
        "rejected": sums.rejected,
        "duplicates": sums.duplicates,
        "late": sums.late,
        "suppressed": sums.suppressed,
        "stored": sums.stored,
        "dead_letters": sums.dead_letters,
        "in_flight": max(0, sums.expected - sums.settled),
        "difference": book.closed.difference,
        "closed_until": iso(ledger.closed_until()),
    }
