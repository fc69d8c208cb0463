"""How much worker and watcher read: what the order of `events` says is not looked for in all of the table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from schemas.clock import ManualClock
from stream_processors.recovery import Recovery
from stream_processors.sql import text_list
from stream_processors.watch.tenants import Tenants
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.chunks import ROLES

TODAY = 20_000 * 86_400
YESTERDAY = TODAY - 86_400
ROWS = 100_000
"""Of each day: a dozen granules."""


class Estimated(ChdbWarehouse):
    """Notes how many rows of `events` each query would read, by the engine's own estimate."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[int] = []

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        self.read.append(sum(int(row["rows"]) for row in super().query(f"EXPLAIN ESTIMATE {sql}", params)))
        return super().query(sql, params)


@pytest.fixture(scope="module")
def warehouse() -> Estimated:
    """Three days of one event type, in one part."""
    house = Estimated()
    house.command(
        "INSERT INTO events (tenant, event_id, event_type, timestamp, received_at, user_id, slot, pack)"
        " SELECT 'demo', toString(number), 'user_engaged',"
        f" toDateTime64({YESTERDAY}, 3, 'UTC') + toIntervalMillisecond(number * 864),"
        f" toDateTime64({TODAY + 2 * 86_400}, 3, 'UTC'), concat('u', toString(number % 500)), number % 8, 'rewards'"
        f" FROM numbers({3 * ROWS})"
    )
    house.command("OPTIMIZE TABLE events FINAL")
    return house


@pytest.mark.parametrize("old", [YESTERDAY, YESTERDAY + 43_200, TODAY - 60])
def test_an_old_minute_costs_the_rows_of_its_day(warehouse: Estimated, old: int) -> None:
    recovery = _recovery(warehouse)
    warehouse.read.clear()
    cells = recovery.recompute(3, [old], 1)
    assert sum(cell.events for cell in cells) == _stored(warehouse, 3, [old])
    assert 0 < warehouse.read[0] < 1.2 * ROWS


def test_an_old_minute_and_a_new_one_do_not_cost_what_lies_between(warehouse: Estimated) -> None:
    """The first day and the third one, without the second."""
    recovery = _recovery(warehouse)
    warehouse.read.clear()
    minutes = [YESTERDAY, TODAY + 86_400]
    cells = recovery.recompute(3, minutes, 1)
    assert sum(cell.events for cell in cells) == _stored(warehouse, 3, minutes) > 0
    assert 0 < warehouse.read[0] < 2.2 * ROWS


def test_tenants_that_are_known_are_not_read_again(warehouse: Estimated) -> None:
    """Others are found all the same, wherever they come in the order, and however they are written."""
    looking = Tenants(warehouse)
    assert looking.look() == [("demo", "rewards")]
    warehouse.read.clear()
    assert looking.look() == [("demo", "rewards")]
    assert warehouse.read == [0]
    others = ["a", "demo'2", "z\\"]
    for tenant in others:
        row = {"tenant": tenant, "event_id": "1", "event_type": "order", "timestamp": TODAY, "received_at": TODAY}
        warehouse.insert_lines("events", json.dumps(row | {"pack": "commerce"}).encode())
    every = [("a", "commerce"), ("demo", "rewards"), ("demo'2", "commerce"), ("z\\", "commerce")]
    assert looking.look() == every == Tenants(warehouse).look()
    warehouse.command("OPTIMIZE TABLE events FINAL")
    warehouse.read.clear()
    assert looking.look() == every
    assert warehouse.read[0] < ROWS / 4
    warehouse.command(f"DELETE FROM events WHERE tenant IN {text_list(others)}")
    assert looking.look() == every, "its rounds go on when its last event goes"


def _recovery(warehouse: ChdbWarehouse) -> Recovery:
    clock = ManualClock(TODAY)
    return Recovery(warehouse, ROLES, clock, partitions=8, recent_ids=1_000, users_in_memory=1_000, hot_minutes=15)


def _stored(warehouse: ChdbWarehouse, partition: int, minutes: list[int]) -> int:
    row = warehouse.query(
        f"SELECT count() AS n FROM events WHERE slot % 8 = {partition}"
        f" AND toUnixTimestamp(toStartOfMinute(timestamp)) IN ({','.join(map(str, minutes))})"
    )
    return int(row[0]["n"])
