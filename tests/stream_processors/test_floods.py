"""A worker stops at a flood before it is all dead letters; what the warehouse refuses is counted nowhere else."""

from __future__ import annotations

import base64
import random
import time
from typing import Any

import msgspec
import pytest

from schemas.clock import ManualClock
from schemas.flood import Flood, FloodLimits
from schemas.wire import ChunkCount, RejectedLine, encode_counts
from sinks.dead_letters import count_refused, refused_line
from stream_processors.floods import Guards
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import Record
from stream_processors.settings import ProcessorSettings
from stream_processors.worker import Worker, WorkerPorts
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.chunks import NOW as THEN
from tests.support.chunks import PARTITIONS, ROLES, chunked, random_event, record
from tests.support.workers import Emitted, everything, make_worker, run, settle

NOW = float(int(time.time()))
"""Dead letters of the events' own time would be too old to be kept."""
LINES = [random_event(random.Random(11 * n), n) for n in range(200)]
MINUTE = int(NOW) // 60 * 60


class Book:
    """Remembers floods. `open`: another worker has stopped."""

    def __init__(self) -> None:
        self.floods: list[Flood] = []
        self.open = False

    def is_open(self, topic: str) -> bool:
        return self.open

    def record(self, flood: Flood) -> None:
        self.floods.append(flood)


def guarded(warehouse: ChdbWarehouse, book: Book, limits: FloodLimits, **accepted: float) -> Worker:
    until = {"headrace." + topic: at for topic, at in accepted.items()}
    guards = Guards(limits, book, until)
    ports = WorkerPorts(warehouse, warehouse, warehouse, warehouse, Emitted(), ManualClock(NOW), guards)
    return Worker(ProcessorSettings(partitions=PARTITIONS), ROLES, ports, WorkerMetrics("events"))


def poison(offset: int, at: float = NOW) -> Record:
    return Record(0, offset, b"garbage", {}, at)


def dead(warehouse: ChdbWarehouse) -> int:
    return int(warehouse.query("SELECT count() AS n FROM rejected_events FINAL")[0]["n"])


def test_a_flood_is_written_down_and_its_last_batch_is_not_drained() -> None:
    warehouse, book = ChdbWarehouse(), Book()
    worker = guarded(warehouse, book, FloodLimits(row=10))
    worker.handle_events([poison(n) for n in range(9)])()
    with pytest.raises(Flood):
        worker.handle_events([poison(n) for n in range(9, 18)])
    assert dead(warehouse) == 9
    [flood] = book.floods
    assert (flood.topic, flood.place) == ("headrace.events", "partition 0 offset 0")


def test_while_another_worker_stands_the_first_bad_message_stops() -> None:
    warehouse, book = ChdbWarehouse(), Book()
    book.open = True
    worker = guarded(warehouse, book, FloodLimits())
    run(worker, chunked(LINES, random.Random(1)))
    with pytest.raises(Flood):
        worker.handle_events([poison(999)])
    assert dead(warehouse) == 0
    accepted = guarded(warehouse, book, FloodLimits(row=3), events=NOW)
    accepted.handle_events([poison(n) for n in range(10)])()
    assert dead(warehouse) == 10


def test_poison_among_good_chunks_is_no_flood() -> None:
    warehouse, book = ChdbWarehouse(), Book()
    worker = guarded(warehouse, book, FloodLimits(least=100, row=20))
    good = chunked(LINES, random.Random(1))
    mixed = [one for n, chunk in enumerate(good) for one in ([chunk, poison(1000 + n)] if n % 4 == 0 else [chunk])]
    run(worker, mixed)
    assert warehouse.query("SELECT count() AS n FROM events FINAL")[0]["n"] == len(LINES)
    assert dead(warehouse) == len(mixed) - len(good)
    assert book.floods == []


def test_garbage_among_the_rejected_stops_too_and_rejected_events_do_not() -> None:
    warehouse, book = ChdbWarehouse(), Book()
    worker = guarded(warehouse, book, FloodLimits(row=3))
    line = RejectedLine("demo", NOW, "empty_id", "user_id", "is empty", "k1", 5, 0, original="{}")
    counts = encode_counts([ChunkCount("demo", MINUTE, "empty_id", 50)])
    value = b"".join(msgspec.json.encode(msgspec.structs.replace(line, index=n)) + b"\n" for n in range(50))
    worker.handle_rejected([Record(0, 0, value, {"chunk": b"5", "counts": counts}, NOW)] * 5)()
    with pytest.raises(Flood):
        worker.handle_rejected([poison(n) for n in range(3)])


def test_a_poison_record_is_kept_whole_and_once_however_often_it_is_read() -> None:
    warehouse = ChdbWarehouse()
    big = Record(1, 7, b"\xff" * 1_000_000, {}, NOW - 5)
    for seconds in (0, 60):
        make_worker(warehouse, clock=ManualClock(NOW + seconds)).handle_events([big])()
    [row] = warehouse.query("SELECT original, field, toFloat64(received_at) AS at, tenant FROM rejected_events FINAL")
    assert base64.b64decode(row["original"]) == big.value
    assert (row["field"], row["at"], row["tenant"]) == ("headrace.events", NOW - 5, "")


def ledger(warehouse: ChdbWarehouse) -> dict[str, int]:
    rows = warehouse.query("SELECT stage, sum(n) AS n FROM ledger FINAL GROUP BY stage")
    return {row["stage"]: int(row["n"]) for row in rows}


def test_a_broken_chunk_whose_header_can_be_read_balances() -> None:
    warehouse = ChdbWarehouse()
    whole = record([{**line, "tenant": "demo"} for line in LINES[:5]], 0, 3, 77)
    make_worker(warehouse, clock=ManualClock(NOW)).handle_events(
        [whole._replace(value=whole.value[:-20], timestamp=NOW)]
    )()
    assert ledger(warehouse) == {"accepted": 5, "dead_letter": 5}
    assert warehouse.query("SELECT tenant FROM rejected_events") == [{"tenant": "demo"}]
    rejected = encode_counts([ChunkCount("demo", MINUTE, "empty_id", 3)])
    make_worker(warehouse, clock=ManualClock(NOW)).handle_rejected(
        [Record(0, 4, b"cut", {"chunk": b"78", "counts": rejected}, NOW)]
    )()
    assert ledger(warehouse) == {"accepted": 5, "dead_letter": 5, "rejected": 3}


class Refusing(ChdbWarehouse):
    """Refuses the events of one user, as a warehouse whose columns do not fit."""

    refuses = b""

    def write(self, events: bytes, ledger: Any, rejected: Any, duplicates: bytes = b"") -> list[Any]:
        lines = events.splitlines(keepends=True)
        bad = [refused_line(line.strip(), "no", NOW) for line in lines if self.refuses and self.refuses in line]
        good = b"".join(line for line in lines if not (self.refuses and self.refuses in line))
        super().write(good, [*ledger, *count_refused(bad)], [*rejected, *bad], duplicates)
        return bad


def test_what_the_warehouse_refused_is_in_no_window_and_no_user_and_may_come_again() -> None:
    clock = ManualClock(THEN)
    refusing, plain = Refusing(), ChdbWarehouse()
    refusing.refuses = b'"user_id":"user-3"'
    worker = make_worker(refusing, clock=clock)
    run(worker, chunked(LINES, random.Random(1)))
    settle(worker, clock)
    worker.flush(everything=True)
    others = make_worker(plain, clock=clock)
    run(others, chunked([line for line in LINES if line["user_id"] != "user-3"], random.Random(1)))
    settle(others, clock)
    others.flush(everything=True)
    wanted, got = everything(plain), everything(refusing)
    assert {name: got[name] for name in ("windows", "users")} == {name: wanted[name] for name in ("windows", "users")}
    missing = [line for line in LINES if line["user_id"] == "user-3"]
    assert ledger(refusing)["dead_letter"] == len(missing) > 0

    refusing.refuses = b""
    run(worker, chunked(missing, random.Random(2)))
    settle(worker, clock)
    worker.flush(everything=True)
    run(others, chunked(missing, random.Random(2)))
    settle(others, clock)
    others.flush(everything=True)
    again, wanted = everything(refusing), everything(plain)
    for name in ("windows", "users"):
        assert again[name] == wanted[name]
    assert refusing.query("SELECT count() AS n FROM events FINAL")[0]["n"] == len(LINES)
    assert "duplicate" not in ledger(refusing)
