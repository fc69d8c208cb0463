"""Quality readings follow from the ledger and the stored rows."""

from __future__ import annotations

import time

import orjson
import pytest

from schemas.wire import LedgerLine, encode_lines
from stream_processors.watch.quality import Quality
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.chunks import NOW, ROLES

MINUTE = int(NOW) // 60 * 60 - 600


def ledger(*counts: tuple[str, int], minute: int = MINUTE) -> bytes:
    return encode_lines(LedgerLine("demo", minute, stage, "", n, count, 1) for n, (stage, count) in enumerate(counts))


def stored(n: int, *, extra: int = 0) -> bytes:
    rows = [
        {
            "tenant": "demo",
            "event_id": f"e{i}",
            "event_type": "user_engaged",
            "user_id": "u",
            "source": "mobile",
            "timestamp": MINUTE,
            "received_at": MINUTE,
            "extra": 1 if i < extra else 0,
        }
        for i in range(n)
    ]
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


@pytest.fixture
def warehouse() -> ChdbWarehouse:
    return ChdbWarehouse()


def read(warehouse: ChdbWarehouse, signal: str, window: float = 3600.0) -> tuple[float | None, int]:
    (reading,) = Quality(warehouse, ROLES).readings({(signal, window, "tenant")}, NOW)
    return reading.value, reading.count


def test_rates_are_shares_of_what_was_received_or_accepted(warehouse: ChdbWarehouse) -> None:
    warehouse.insert_lines(
        "ledger", ledger(("received", 100), ("accepted", 80), ("rejected", 20), ("duplicate", 8), ("late", 4))
    )
    assert read(warehouse, "validation_pass_rate_percent") == (80.0, 100)
    assert read(warehouse, "duplicate_rate_percent") == (10.0, 80)
    assert read(warehouse, "late_arrival_rate_percent") == (5.0, 80)


def test_what_was_recovered_counts_as_received(warehouse: ChdbWarehouse) -> None:
    warehouse.insert_lines("ledger", ledger(("received", 90), ("recovered", 10), ("accepted", 100)))
    assert read(warehouse, "events_received") == (100.0, 100)


def test_ingestion_is_compared_with_the_same_time_of_earlier_days(warehouse: ChdbWarehouse) -> None:
    for day, count in enumerate([50, 200, 200]):
        warehouse.insert_lines("ledger", ledger(("received", count), minute=MINUTE - day * 86400))
    assert read(warehouse, "ingestion_rate_percent") == (25.0, 200)


def test_freshness_is_the_age_of_the_newest_event(warehouse: ChdbWarehouse) -> None:
    warehouse.insert_lines("events", stored(3, extra=1))
    value, count = read(warehouse, "data_freshness_minutes", 86400.0)
    assert (value, count) == ((NOW - MINUTE) / 60, 3)
    assert read(warehouse, "schema_compliance_percent") == (100 * 2 / 3, 3)


def test_later_looks_count_what_was_stored_since_and_read_no_more(warehouse: ChdbWarehouse) -> None:
    """Of a day with many events, a look reads few, whenever those that were stored since came in."""
    needed = {("data_freshness_minutes", 86400.0, "tenant"), ("completeness_percent", 3600.0, "tenant")}
    many = stored(20_000).replace(b'"event_id":"e', b'"inserted_at":%d,"event_id":"old' % (int(time.time()) - 3600))
    warehouse.insert_lines("events", many)
    quality = Quality(warehouse, ROLES)
    assert {one.count for one in quality.readings(needed, NOW)} == {20_000}
    warehouse.insert_lines("events", stored(5).replace(b'"user_id":"u"', b'"user_id":""'))
    before = _rows_read(warehouse)
    found = {one.signal: (one.value, one.count) for one in quality.readings(needed, NOW + 2)}
    assert _rows_read(warehouse) - before < 1_000
    assert found == {
        "data_freshness_minutes": ((NOW + 2 - MINUTE) / 60, 20_005),
        "completeness_percent": (100 * 20_000 / 20_005, 20_005),
    }


def test_later_looks_read_the_last_minutes_of_the_ledger(warehouse: ChdbWarehouse) -> None:
    """A minute that is over is read again within one."""
    needed = {("duplicate_rate_percent", 3600.0, "tenant")}
    quality = Quality(warehouse, ROLES)
    last = int(NOW) // 60 * 60

    def rate(now: float) -> float | None:
        return next(iter(quality.readings(needed, now))).value

    warehouse.insert_lines("ledger", ledger(("accepted", 50), ("duplicate", 5)))
    assert rate(NOW) == 10.0
    warehouse.insert_lines("ledger", ledger(("accepted", 50), ("duplicate", 15), minute=last))
    assert rate(NOW + 2) == 20.0
    warehouse.insert_lines("ledger", ledger(("late", 1), ("late", 1), ("duplicate", 10)))
    assert rate(NOW + 61) == 30.0


def _rows_read(warehouse: ChdbWarehouse) -> int:
    return int(warehouse.query("SELECT sum(value) AS n FROM system.events WHERE event = 'SelectedRows'")[0]["n"])


def test_budget_utilisation_counts_launches_and_reallocations(warehouse: ChdbWarehouse) -> None:
    def event(kind: str, amount: int, campaign: str, **properties: str) -> bytes:
        row = {
            "tenant": "demo",
            "event_id": f"{kind}{campaign}",
            "event_type": kind,
            "user_id": "m",
            "timestamp": MINUTE,
            "received_at": MINUTE,
            "campaign_id": campaign,
            "amount_micros": amount,
            "pack": "marketing",
            "properties": properties,
        }
        return orjson.dumps(row) + b"\n"

    warehouse.insert_lines(
        "events",
        event("campaign_created", 50, "a")
        + event("campaign_launched", 100, "a")
        + event("campaign_created", 60, "b")
        + event("budget_reallocated", 20, "", from_campaign_id="a", to_campaign_id="b")
        + event("campaign_spend_recorded", 90, "a"),
    )
    roles = {"marketing": {**ROLES["marketing"], "spend": [("campaign_spend_recorded", None)]}}
    readings = Quality(warehouse, roles).readings({("metric.budget_utilization", 0.0, "campaign")}, NOW)
    values = {reading.subject: (reading.value, reading.evidence["budget_micros"]) for reading in readings}
    assert values == {"campaign:a": (112.5, 80), "campaign:b": (0.0, 80)}
