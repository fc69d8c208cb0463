"""The event sink: durable when it returns, poison lines to the dead letters, never a lost line."""

from __future__ import annotations

import json
import time
from random import Random

import msgspec
import pytest

from schemas.clock import ManualClock
from schemas.errors import Fatal, Permanent, Retryable
from schemas.reasons import Reason
from schemas.wire import LedgerLine, RejectedLine
from sinks.codes import RequestRefused, RowsRefused, WarehouseBusy
from sinks.dead_letters import count_refused, refused_line
from sinks.settings import WriterSettings
from sinks.warehouse import Warehouse
from sinks.writer import EventBatch, EventSink

MINUTE = int(time.time()) // 60 * 60
"""A minute of today: what is too old is dropped by the tables' TTL."""

LEDGER = LedgerLine("t", MINUTE, "accepted", "", 7, 3, 1)


def line(event_id: str, **fields: object) -> bytes:
    """One event line of chunk 7."""
    event = {
        "tenant": "t",
        "event_id": event_id,
        "event_type": "user_purchased",
        "timestamp": MINUTE + 0.5,
        "received_at": MINUTE + 1.25,
        "user_id": "u",
        "slot": 3,
        "chunk": 7,
        "key_id": "k",
        "properties": {},
    }
    return json.dumps(event | fields).encode() + b"\n"


class Scripted:
    """Stands in for the warehouse: fails as told, refuses lines that hold `poison`, keeps the rest."""

    def __init__(self, faults: list[Exception] | None = None, poison: bytes = b"\0") -> None:
        self.faults = faults or []
        self.poison = poison
        self.calls: list[str] = []
        self.rows: dict[str, list[bytes]] = {}

    def insert_lines(self, table: str, ndjson: bytes) -> None:
        self.calls.append(table)
        if self.faults:
            raise self.faults.pop(0)
        if table == "events" and self.poison in ndjson:
            raise RowsRefused("cannot parse", table=table, code=27)
        self.rows.setdefault(table, []).extend(ndjson.split(b"\n")[:-1])


def sink(warehouse: Scripted | Warehouse, clock: ManualClock | None = None, **settings: object) -> EventSink:
    return EventSink(warehouse, clock or ManualClock(), Random(1), WriterSettings.model_validate(settings))


def test_events_are_stored_before_the_counts_that_speak_of_them() -> None:
    warehouse = Scripted()
    rejected = RejectedLine("t", 1.0, "too_old", "", "", "k", 7, 0)
    result = sink(warehouse).write(EventBatch(line("a") + line("b"), [LEDGER], [rejected]))
    assert warehouse.calls == ["events", "rejected_events", "ledger"]
    assert (result.inserted, result.refused) == (2, [])


def test_an_empty_batch_asks_for_nothing() -> None:
    warehouse = Scripted()
    sink(warehouse).write(EventBatch())
    assert warehouse.calls == []


def test_a_passing_fault_is_waited_out_with_growing_capped_pauses() -> None:
    clock = ManualClock()
    began = clock.now()
    warehouse = Scripted([WarehouseBusy("away")] * 12)
    sink(warehouse, clock).write(EventBatch(line("a"), [LEDGER]))
    assert len(warehouse.rows["events"]) == 1
    assert len(warehouse.rows["ledger"]) == 1
    assert 20 < clock.now() - began < 120


def test_stopping_ends_the_wait_with_the_fault_so_the_offset_is_held() -> None:
    warehouse = Scripted([WarehouseBusy("away")] * 3)
    stopped = EventSink(warehouse, ManualClock(), Random(1), stopping=lambda: len(warehouse.calls) >= 2)
    with pytest.raises(Retryable):
        stopped.write(EventBatch(line("a")))
    assert warehouse.rows == {}


def test_a_refused_statement_names_its_table() -> None:
    with pytest.raises(Permanent) as caught:
        sink(Scripted([RequestRefused("no such table", table="events", code=60)])).write(EventBatch(line("a")))
    assert isinstance(caught.value, RequestRefused)
    assert caught.value.table == "events"


def test_own_rows_that_are_refused_are_raised_not_swallowed() -> None:
    warehouse = Scripted([RowsRefused("bad", table="ledger", code=27)])
    with pytest.raises(RowsRefused) as caught:
        sink(warehouse).write(EventBatch(ledger=[LEDGER]))
    assert caught.value.table == "ledger"


@pytest.mark.parametrize("at", [0, 1, 6, 12])
def test_only_the_poison_line_becomes_a_dead_letter(at: int) -> None:
    lines = [line(str(n)) for n in range(13)]
    lines[at] = line("bad", session_id="POISON")
    warehouse = Scripted(poison=b"POISON")
    result = sink(warehouse).write(EventBatch(b"".join(lines), [LEDGER]))
    assert sorted(warehouse.rows["events"]) == sorted(one[:-1] for n, one in enumerate(lines) if n != at)
    [dead] = result.refused
    assert (dead.reason, dead.event_id, dead.chunk, dead.key_id) == (Reason.REFUSED_BY_WAREHOUSE, "bad", 7, "k")
    assert dead.original.encode() + b"\n" == lines[at]
    assert result.inserted == 12
    ledger = [msgspec.json.decode(row) for row in warehouse.rows["ledger"]]
    assert ledger[-1] == {
        **{"tenant": "t", "minute": MINUTE, "stage": "dead_letter", "reason": "refused_by_warehouse"},
        **{"origin": 7, "n": 1, "version": 1},
    }


def test_a_fault_in_the_middle_of_the_search_loses_nothing() -> None:
    class Shaky(Scripted):
        def insert_lines(self, table: str, ndjson: bytes) -> None:
            if len(self.calls) % 3 == 2:
                self.calls.append(table)
                raise WarehouseBusy("again")
            super().insert_lines(table, ndjson)

    warehouse = Shaky(poison=b"POISON")
    lines = [line(str(n), session_id="POISON" if n in (2, 3, 17) else "") for n in range(20)]
    result = sink(warehouse).write(EventBatch(b"".join(lines)))
    assert len(warehouse.rows["events"]) == 17
    assert sorted(dead.event_id for dead in result.refused) == ["17", "2", "3"]
    assert len(warehouse.rows["rejected_events"]) == 3


def test_a_flood_of_poison_stops_the_worker_instead_of_draining_into_dead_letters() -> None:
    warehouse = Scripted(poison=b"POISON")
    lines = b"".join(line(str(n), session_id="POISON" if n % 4 else "") for n in range(40))
    with pytest.raises(Fatal, match="migrate"):
        sink(warehouse, flood_lines=20).write(EventBatch(lines))
    assert "rejected_events" not in warehouse.rows
    few = sink(Scripted(poison=b"POISON"), flood_lines=31).write(EventBatch(lines))
    assert len(few.refused) == 30


def test_the_same_line_is_the_same_dead_letter_however_often_it_is_replayed() -> None:
    first, again = refused_line(line("a"), "why", 1.0), refused_line(line("a"), "why", 99.0)
    assert first == again
    assert refused_line(line("b"), "why", 1.0).index != first.index


@pytest.mark.parametrize("raw", [b"not json", b"[1]", b'{"tenant":3,"chunk":"x","received_at":null}', b"\xff\xfe"])
def test_a_line_that_cannot_be_read_keeps_its_bytes(raw: bytes) -> None:
    import base64

    dead = refused_line(raw, "why", 5.0)
    kept = base64.b64decode(dead.original) if dead.encoding == "base64" else dead.original.encode()
    assert kept == raw
    assert (dead.tenant, dead.received_at, dead.chunk) == ("", 5.0, 0)
    assert count_refused([dead])[0].n == 1


@pytest.mark.integration
def test_on_a_real_server_poison_is_set_aside_and_a_replay_changes_nothing(warehouse: Warehouse) -> None:
    """A number where the pack declared another type: what the column of a changed pack does."""
    warehouse.command("ALTER TABLE events ADD COLUMN IF NOT EXISTS p_score Nullable(Float64)")
    lines = [line(str(n), p_score=0.5) for n in range(9)]
    lines[4] = line("bad", p_score="high")
    batch = EventBatch(b"".join(lines), [msgspec.structs.replace(LEDGER, n=9)])
    for _ in range(2):
        result = sink(warehouse).write(batch)
        assert result.inserted == 8
    sums = "SELECT (SELECT count() FROM events FINAL) AS events, (SELECT count() FROM rejected_events FINAL) AS dead"
    assert warehouse.query(sums) == [{"events": 8, "dead": 1}]
    ledger = warehouse.query("SELECT stage, sum(n) AS n FROM ledger FINAL GROUP BY stage ORDER BY stage")
    assert ledger == [{"stage": "accepted", "n": 9}, {"stage": "dead_letter", "n": 1}]
    [dead] = warehouse.query("SELECT * FROM rejected_events FINAL")
    assert json.loads(dead["original"])["p_score"] == "high"
    assert dead["received_at"] == MINUTE + 1.25
