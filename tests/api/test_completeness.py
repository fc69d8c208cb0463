"""How complete the data is: what is old is taken from the reconciliation, if that has looked at all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.ledger import LedgerReader
from api.reader import ClickHouseReader
from schemas.clock import ManualClock
from sinks.warehouse import Warehouse
from tests.api import rows
from tests.api.world import DAY, NOW, Event, World

END = int(NOW * 1000)
OLD = NOW - 3 * DAY


def reconciled(tenant: str, expected: int, found: int, *, minute: float = OLD) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "minute": int(minute // 60) * 60,
        "what": "accepted",
        "expected": expected,
        "found": found,
        "difference": expected - found,
        "checked_at": NOW,
        "version": 1,
    }


def counted(store: Warehouse, tenant: str) -> None:
    """Of 100 accepted events 5 were duplicates and 2 dead letters, at an old minute; of 10 now one is missing."""
    rows.put(
        store,
        "ledger",
        *(
            rows.ledger(tenant, stage, n, minute=OLD)
            for stage, n in (("received", 100), ("accepted", 100), ("duplicate", 5), ("dead_letter", 2))
        ),
        rows.ledger(tenant, "received", 10),
        rows.ledger(tenant, "accepted", 10),
    )


@pytest.fixture
def ledger(reader: ClickHouseReader, clock: ManualClock) -> LedgerReader:
    return LedgerReader(reader, clock)


Insert = Callable[[str, list[Event]], None]


async def test_old_minutes_are_taken_from_the_reconciliation(
    ledger: LedgerReader, store: Warehouse, tenant: str, insert: Insert
) -> None:
    """No event of the old minute is in the table of this test, and they count as stored all the same."""
    counted(store, tenant)
    insert(tenant, World(1).events(9))
    rows.put(store, "reconciliation", reconciled(tenant, 100, 96))
    book = await ledger.recent(tenant, END - 7 * DAY * 1000, END + 60_000)
    assert (book.all.stored, book.all.settled) == (89 + 9, 96 + 9)
    assert await ledger.completeness(tenant, END - 7 * DAY * 1000, END + 60_000) == 100 * (96 - 2 + 9) / 110
    full = await ledger.book(tenant, END - 7 * DAY * 1000, END + 60_000)
    assert full.all.stored == 9, "the pipeline's page counts events"


async def test_a_range_that_lies_in_the_past_is_taken_from_it_as_a_whole(
    ledger: LedgerReader, store: Warehouse, tenant: str
) -> None:
    counted(store, tenant)
    rows.put(store, "reconciliation", reconciled(tenant, 100, 96))
    assert await ledger.completeness(tenant, END - 7 * DAY * 1000, END - 2 * DAY * 1000) == 94


async def test_what_the_reconciliation_has_not_looked_at_is_counted(
    ledger: LedgerReader, store: Warehouse, tenant: str, insert: Insert
) -> None:
    """A watcher that was away for a day leaves minutes out: then nothing of it is believed."""
    counted(store, tenant)
    insert(tenant, World(2).events(9))
    rows.put(store, "reconciliation", reconciled(tenant, 60, 60))
    book = await ledger.recent(tenant, END - 7 * DAY * 1000, END + 60_000)
    assert book.all.stored == 9


async def test_young_minutes_are_counted_though_they_were_reconciled(
    ledger: LedgerReader, store: Warehouse, tenant: str, insert: Insert
) -> None:
    insert(tenant, World(3).events(4))
    rows.put(store, "ledger", rows.ledger(tenant, "accepted", 10, minute=NOW - DAY))
    rows.put(store, "reconciliation", reconciled(tenant, 10, 10, minute=NOW - DAY))
    book = await ledger.recent(tenant, END - 2 * DAY * 1000, END + 60_000)
    assert book.all.stored == 4


async def test_the_newest_event_of_a_quiet_tenant_is_found(
    ledger: LedgerReader, store: Warehouse, tenant: str, insert: Insert, clock: ManualClock
) -> None:
    assert await ledger.as_of(tenant) is None
    clock.advance(61)
    insert(tenant, World(4).events(3))
    newest = await ledger.as_of(tenant)
    clock.advance(400 * DAY)
    assert newest is not None and await ledger.as_of(tenant) == newest
