"""Users whose events are not kept: counted, stored nowhere, and the same however often a chunk is read."""

from __future__ import annotations

import random
from typing import Any

import pytest

from schemas.clock import ManualClock
from schemas.errors import Retryable
from sinks.suppressions import DELAY_SECONDS, SuppressionBook
from stream_processors.metrics import WorkerMetrics
from stream_processors.settings import ProcessorSettings
from stream_processors.suppression import REFRESH_SECONDS
from stream_processors.worker import Worker, WorkerPorts
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.chunks import NOW, ROLES, random_event, record
from tests.support.workers import Emitted, run, settle

Spans = dict[tuple[str, str], list[tuple[float, float]]]


class Book:
    """Says who is suppressed, or that it cannot be asked; counts the questions."""

    def __init__(self, **spans: tuple[float, float]) -> None:
        self.found: Spans = {("demo", user): [span] for user, span in spans.items()}
        self.away, self.asked = False, 0

    def spans(self) -> Spans:
        self.asked += 1
        if self.away:
            raise Retryable("the warehouse is away")
        return dict(self.found)


def make(house: ChdbWarehouse, book: Book, clock: ManualClock) -> Worker:
    ports = WorkerPorts(house, house, house, house, Emitted(), clock, suppressions=book)
    return Worker(ProcessorSettings(partitions=1), ROLES, ports, WorkerMetrics("events"))


def event(number: int, user: str, received: float) -> dict[str, Any]:
    made = random_event(random.Random(number), number)
    return {**made, "user_id": user, "received_at": received, "timestamp": received - 1.0}


def test_events_received_within_the_span_are_counted_and_kept_nowhere() -> None:
    house, clock = ChdbWarehouse(), ManualClock(NOW)
    times = (NOW - 31, NOW - 30, NOW - 21, NOW - 20)
    lines = [event(n, user, at) for n, (user, at) in enumerate((u, t) for u in ("gone", "here") for t in times)]
    chunks = [record(lines, 0, 0, 1), record(lines[1:3], 0, 1, 2)]
    for _ in range(2):
        worker = make(house, Book(gone=(NOW - 30, NOW - 20)), clock)
        run(worker, chunks, take=1)
        settle(worker, clock)
        worker.flush(everything=True)
    stored = house.query("SELECT user_id, count() AS n FROM events FINAL GROUP BY user_id ORDER BY user_id")
    assert stored == [{"user_id": "gone", "n": 2}, {"user_id": "here", "n": 4}]
    assert house.query("SELECT sum(events) AS n FROM windows FINAL") == [{"n": 6}]
    assert house.query("SELECT events FROM user_state FINAL WHERE user_id = 'gone'") == [{"events": 2}]
    assert house.query("SELECT count() AS n FROM duplicates") == [{"n": 0}]
    ledger = {r["stage"]: r["n"] for r in house.query("SELECT stage, sum(n) AS n FROM ledger FINAL GROUP BY stage")}
    assert ledger == {"accepted": 10, "suppressed": 4}


def test_what_is_judged_by_is_never_old_and_rarely_asked_for() -> None:
    house, clock, book = ChdbWarehouse(), ManualClock(NOW), Book()
    worker = make(house, book, clock)
    for number in range(5):
        run(worker, [record([event(number, "gone", clock.now())], 0, number, number)])
    assert book.asked == 1
    book.found = {("demo", "gone"): [(NOW, NOW + 100)]}
    clock.advance(REFRESH_SECONDS + 0.1)
    run(worker, [record([event(9, "gone", clock.now())], 0, 9, 9)])
    assert house.query("SELECT count() AS n FROM events FINAL") == [{"n": 5}]
    assert REFRESH_SECONDS * 2 <= DELAY_SECONDS


def test_nothing_is_taken_while_nobody_can_say_whom_to_leave_out() -> None:
    house, clock, book = ChdbWarehouse(), ManualClock(NOW), Book()
    worker = make(house, book, clock)
    book.away = True
    with pytest.raises(Retryable):
        worker.processor.process([record([event(1, "gone", NOW)], 0, 0, 1)])
    book.away = False
    run(worker, [record([event(1, "gone", NOW)], 0, 0, 1)])
    assert house.query("SELECT count() AS n FROM events FINAL") == [{"n": 1}]


def test_the_book_opens_and_ends_spans_after_every_worker_could_read_of_them() -> None:
    book = SuppressionBook(ChdbWarehouse())
    before = book._now()
    added = book.add("demo", "it's \\ me", "objected", "ann")
    assert added.since >= before + DELAY_SECONDS - 0.01
    assert book.add("demo", "it's \\ me", "again", "bob") == added, "it is open already"
    assert book.spans() == {("demo", "it's \\ me"): [(added.since, added.until)]}
    assert book.rows("other") == []
    (ended,) = book.remove("demo", "it's \\ me", "bob")
    assert before + DELAY_SECONDS - 0.01 <= ended.until < before + 60
    assert book.remove("demo", "it's \\ me", "bob") == []
    assert [(row.reason, row.actor) for row in book.rows("demo")] == [("objected", "bob")]
