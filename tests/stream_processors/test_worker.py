"""The worker's handlers: poison, rejected events, flushes that fail, states that are let go and come back."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from schemas.clock import ManualClock
from schemas.errors import Retryable
from schemas.wire import ChunkCount, EventLine, LedgerLine, RejectedLine, decode_events, encode_counts, encode_lines
from stream_processors import recovery
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import Record
from stream_processors.settings import ProcessorSettings
from stream_processors.users import FLAGS, RoleTable, Users, UserState, describe, fold
from stream_processors.windows import Windows
from stream_processors.worker import Worker, WorkerPorts
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.chunks import NOW, PARTITIONS, ROLES, chunked, random_event, record
from tests.support.workers import Emitted, everything, make_worker, run, settle

LINES = [random_event(random.Random(11 * n), n) for n in range(200)]


@pytest.fixture
def warehouse() -> ChdbWarehouse:
    return ChdbWarehouse()


def test_a_poison_record_becomes_a_dead_letter_and_costs_no_other(warehouse: ChdbWarehouse) -> None:
    poison = Record(0, 99, b"\x00 not a chunk", {})
    run(make_worker(warehouse, clock=ManualClock(time.time())), [poison, *chunked(LINES, random.Random(1))])
    assert warehouse.query("SELECT count() AS n FROM events")[0]["n"] == len(LINES)
    (row,) = warehouse.query("SELECT reason, encoding, base64Decode(original) AS bytes, message FROM rejected_events")
    assert (row["reason"], row["encoding"]) == ("unreadable_chunk", "base64")
    assert row["bytes"] == "\x00 not a chunk"
    assert "offset 99" in row["message"]


def test_rejected_events_are_kept_and_counted_once_however_often_they_are_read(warehouse: ChdbWarehouse) -> None:
    line = RejectedLine("demo", round(time.time(), 3), "empty_id", "user_id", "is empty", "k1", 5, 0, original="{}")
    counts = encode_counts([ChunkCount("demo", int(time.time()) // 60 * 60, "empty_id", 1)])
    rejected = Record(0, 0, encode_lines([line]), {"chunk": b"5", "counts": counts})
    for _ in range(2):
        make_worker(warehouse).handle_rejected([rejected])()
    assert warehouse.query("SELECT count() AS n FROM rejected_events FINAL")[0]["n"] == 1
    rows = warehouse.query("SELECT stage, reason, n FROM ledger FINAL")
    assert rows == [{"stage": "rejected", "reason": "empty_id", "n": 1}]


def test_the_newest_count_of_a_collector_holds(warehouse: ChdbWarehouse) -> None:
    minute = int(time.time()) // 60 * 60
    lines = [LedgerLine("demo", minute, "received", "", 1, n, version) for version, n in ((2, 20), (1, 10))]
    make_worker(warehouse).handle_ledger([Record(0, n, encode_lines([line]), {}) for n, line in enumerate(lines)])()
    assert warehouse.query("SELECT n FROM ledger FINAL") == [{"n": 20}]


class Failing(ChdbWarehouse):
    """Refuses inserts into one table while `broken`."""

    broken = ""

    def insert_lines(self, table: str, ndjson: bytes) -> None:
        if table == self.broken:
            raise Retryable("the warehouse is away")
        super().insert_lines(table, ndjson)


@pytest.mark.parametrize("table", ["windows", "user_state", "checkpoints"])
def test_a_flush_that_fails_forgets_nothing(table: str) -> None:
    clock, failing, healthy = ManualClock(NOW), Failing(), ChdbWarehouse()
    for warehouse in (failing, healthy):
        worker = make_worker(warehouse, clock=clock)
        run(worker, chunked(LINES, random.Random(1)))
        if warehouse is failing:
            failing.broken = table
            worker.flush(everything=True)
            clock.advance(3)
            worker.flush(everything=True)
            failing.broken = ""
        settle(worker, clock)
        worker.flush(everything=True)
    assert everything(failing) == everything(healthy)


def test_user_states_that_were_let_go_come_back(warehouse: ChdbWarehouse) -> None:
    clock = ManualClock(NOW)
    reference = ChdbWarehouse()
    for house, users in ((warehouse, 1000), (reference, 200_000)):
        settings = ProcessorSettings(partitions=PARTITIONS, users_in_memory=users)
        ports = WorkerPorts(house, house, house, house, Emitted(), clock)
        worker = Worker(settings, ROLES, ports, WorkerMetrics("events"))
        for state in range(3):
            run(worker, chunked(LINES[state::3], random.Random(state)))
            worker.flush(everything=True)
            if users == 1000:
                for partition in worker.processor.states.values():
                    partition.users._most = 0
                    partition.users.shrink()
                    assert len(partition.users) == 0
        settle(worker, clock)
        worker.flush(everything=True)
    assert everything(warehouse)["users"] == everything(reference)["users"]


def test_an_event_of_now_is_late_where_the_collectors_clock_is_a_day_ahead() -> None:
    """As ClickHouse has it, which only knows when the collector says it was received."""
    windows = Windows("0/1")
    received = ((NOW + 86_400.0, 0), (NOW + 86_400.001, 1), (NOW + 90_000.0, 1), (NOW + 1.0, 0))
    for n, (at, late) in enumerate(received):
        event = EventLine("demo", f"e{n}", "user_engaged", NOW, at, "u", campaign_id=f"c{n}")
        old = msgspec.structs.replace(event, event_id=f"b{n}", backfill=True)
        assert windows.add("demo", [event, old], NOW) == set()
        assert [(row.events, row.late) for row in windows.take_changed(NOW)] == [(2, late)]


def test_window_cells_are_bounded_and_what_is_let_go_is_recomputed() -> None:
    windows = Windows("0/1", hot_minutes=15, most_cells=10)
    clock = ManualClock(NOW)
    events = []
    for n in range(40):
        line = {
            **random_event(random.Random(n), n),
            "timestamp": NOW - 60 * (n % 4),
            "campaign_id": f"c{n}",
            "chunk": 1,
        }
        events += decode_events(record([line], 0, 0, 1).value)
    assert windows.add("demo", events, clock.now()) == set()
    assert len(windows.take_changed(clock.now())) == 40
    assert len(windows) <= 10
    assert windows.add("demo", events, clock.now()) == {int(NOW) // 60 * 60 - 60 * n for n in range(1, 4)}


@pytest.mark.parametrize("second", [0.0, 59.3, 59.999])
def test_an_event_in_the_last_second_of_a_late_minute_is_counted(warehouse: ChdbWarehouse, second: float) -> None:
    """Compared with a DateTime, the engine passes over a part that begins in that second."""
    clock, minute = ManualClock(NOW), NOW - 26 * 3600
    lines = [random_event(random.Random(n), n) | {"slot": 0, "event_type": "user_purchased"} for n in range(2)]
    lines[0] |= {"timestamp": minute + second, "received_at": NOW}
    lines[1] |= {"timestamp": NOW - 5, "received_at": NOW}
    worker = make_worker(warehouse, clock=clock, partitions=1)
    run(worker, [record(lines, 0, 0, 1)])
    settle(worker, clock)
    rows = warehouse.query("SELECT toUnixTimestamp(minute) AS at, sum(events) AS n FROM windows FINAL GROUP BY at")
    assert {int(row["at"]): int(row["n"]) for row in rows} == {int(minute): 1, int(NOW) - 60: 1}
    again = make_worker(warehouse, clock=clock, partitions=1)
    again.assign([0])
    assert minute in again.processor.states[0].windows._stale, "a new owner looks at it again"


def test_no_checkpoint_passes_a_minute_that_its_owner_had_no_time_to_recompute(
    warehouse: ChdbWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One owner stores a late event, the next one only begins, the third one still has to count it."""
    monkeypatch.setattr(recovery, "OVERLAP_SECONDS", 0.0)
    clock = ManualClock(time.time())
    line = random_event(random.Random(1), 1) | {"slot": 0, "event_type": "user_purchased"}
    line |= {"timestamp": round(clock.now() - 26 * 3600, 3), "received_at": round(clock.now(), 3)}
    run(make_worker(warehouse, clock=clock, partitions=1), [record([line], 0, 0, 1)])
    for _ in range(2):
        owner = make_worker(warehouse, clock=clock, partitions=1)
        time.sleep(0.01)
        clock.advance(0.01)
        owner.assign([0])
        owner.flush(everything=True)
    settle(owner, clock)
    assert warehouse.query("SELECT sum(events) AS n FROM windows FINAL") == [{"n": 1}]


@pytest.mark.parametrize("role", sorted(FLAGS))
def test_every_role_changes_a_state(role: str) -> None:
    table = RoleTable({role: [("happened", None)]})
    line = {**random_event(random.Random(1), 1), "event_type": "happened", "is_holdout": False, "amount_micros": 5}
    (event,) = decode_events(record([line], 0, 0, 1).value)
    state, plain = (UserState("demo", "u", event.timestamp, event.timestamp) for _ in range(2))
    fold(state, event, table.bits("happened", ""))
    fold(plain, event, 0)
    assert state != plain


def test_recency_frequency_and_monetary_value_are_days_counts_and_money() -> None:
    state = UserState("demo", "u", 0.0, 0.0, last_active=NOW - 86400 * 2, purchases=3, monetary_micros=29_330_000)
    said: Mapping[str, Any] = describe(state, NOW)
    assert (said["recency_days"], said["frequency"], said["monetary"]) == (2.0, 3, 29.33)
    assert said["days_since_purchase"] is None


def test_events_of_an_undeclared_pack_count_and_mean_nothing() -> None:
    users = Users({}, most=10)
    users.add("demo", decode_events(record([random_event(random.Random(1), 1)], 0, 0, 1).value))
    (state,) = users.take_changed(1)
    assert (state.events, state.last_active) == (1, None)
