"""The same id for another event: one stays, everywhere, whoever stored the other, and whatever is killed meanwhile."""

from __future__ import annotations

import functools
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from schemas.clock import ManualClock
from schemas.errors import Retryable
from schemas.wire import CORRECTION_HEADER, slot_of
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import Record
from stream_processors.settings import WatcherSettings
from stream_processors.watch.conflicts import ConflictWatch
from stream_processors.worker import Worker
from tests.integration.traffic import Line, lines
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.chunks import PARTITIONS, chunked, record
from tests.support.workers import everything, make_worker, run, settle

CONFLICTS = 60
COUNTS = "SELECT stage, reason, sum(n) AS n FROM ledger FINAL GROUP BY ALL"
LATE = (
    "SELECT tenant, toUnixTimestamp(minute) AS at, sum(n) AS n FROM ledger FINAL WHERE stage = 'late'"
    " GROUP BY ALL HAVING n > 0 ORDER BY ALL"
)


class Kafka:
    """Corrections on their way to the workers. `fails`: how many of the next calls do."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.log: list[Record] = []
        self.fails = 0

    def partitions(self) -> int:
        return PARTITIONS

    def correct(self, partition: int, value: bytes) -> None:
        if self.fails:
            self.fails -= 1
            raise Retryable("Kafka is away")
        one = Record(partition, 1000 + len(self.log), value, {CORRECTION_HEADER: b"1"})
        self.log.append(one)
        self.records.append(one)


class Killed(BaseException):
    """The process is gone at this point."""


class Mortal(ChdbWarehouse):
    """Dies before the `left`-th write from now on. All that it wrote stays."""

    left = -1

    def insert_lines(self, table: str, ndjson: bytes) -> None:
        self._write(functools.partial(super().insert_lines, table, ndjson))

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> None:
        self._write(functools.partial(super().command, sql))

    def _write(self, write: Callable[[], None]) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed
        write()


class Slow(ChdbWarehouse):
    """Rows of `windows` are held up on their way until `meanwhile` was done, once."""

    meanwhile: Callable[[], None] | None = None

    def insert_lines(self, table: str, ndjson: bytes) -> None:
        if table == "windows" and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        super().insert_lines(table, ndjson)


class World:
    """A warehouse, two workers with half of the partitions each, and the job."""

    def __init__(self, warehouse: ChdbWarehouse | None = None, clock: ManualClock | None = None) -> None:
        self.warehouse, self.clock = warehouse or ChdbWarehouse(), clock or ManualClock(time.time())
        self.kafka = Kafka()
        self.metrics = WorkerMetrics("watch")
        self.start()

    def start(self) -> None:
        """Fresh processes over what is stored."""
        self.workers = [make_worker(self.warehouse, clock=self.clock) for _ in range(2)]
        self.watch = self.watcher()

    def watcher(self) -> ConflictWatch:
        return ConflictWatch(WatcherSettings(), self.warehouse, self.kafka, self.clock, self.metrics)

    def worker(self, partition: int) -> Worker:
        return self.workers[partition % 2]

    def send(self, records: Sequence[Record]) -> None:
        for number, worker in enumerate(self.workers):
            run(worker, [one for one in records if one.partition % 2 == number])

    def settle(self) -> None:
        """The job's round, corrections handled, all flushed."""
        self.watch.round()
        self.correct()
        for worker in self.workers:
            settle(worker, self.clock)
            worker.flush(everything=True)

    def correct(self) -> None:
        records, self.kafka.records = self.kafka.records, []
        self.send(records)

    def conflicts(self) -> Counter[tuple[str, bool]]:
        rows = self.warehouse.query("SELECT kind, moved, settled FROM conflicts FINAL")
        assert all(row["settled"] for row in rows)
        return Counter((row["kind"], bool(row["moved"])) for row in rows)

    def counts(self) -> dict[tuple[str, str], int]:
        return {(row["stage"], row["reason"]): int(row["n"]) for row in self.warehouse.query(COUNTS)}


def _other_user(line: Line, elsewhere: bool) -> Line:
    """The same id for another user, on another partition or on the same one."""
    return _shifted(line, 1 if elsewhere else 0)


def _shifted(line: Line, by: int) -> Line:
    place = (line["slot"] + by) % PARTITIONS
    strangers = ((user, slot_of(line["tenant"], user)) for n in range(10_000) for user in (f"stranger-{n}",))
    user, slot = next((user, slot) for user, slot in strangers if slot % PARTITIONS == place)
    return {**line, "user_id": user, "slot": slot, "amount_micros": line["amount_micros"] + 1}


@pytest.fixture(scope="module")
def some() -> list[Line]:
    return lines(600, random.Random(5))


def _losers(some: Sequence[Line]) -> list[Line]:
    """Conflicting copies that are received later, on another partition: of hot minutes, of old ones, and late ones."""
    return [
        _other_user({**line, "received_at": round(line["received_at"] + 60, 3)}, elsewhere=True)
        for line in some[:CONFLICTS]
    ]


def _alone(some: Sequence[Line], clock: ManualClock) -> World:
    """What the winners give by themselves."""
    world = World(clock=ManualClock(clock.now()))
    world.send(chunked(some, random.Random(1)))
    world.settle()
    assert not world.conflicts()
    return world


def _check(world: World, some: Sequence[Line], sent: int) -> None:
    _compare(world, _alone(some, world.clock), len(some), sent)


def _compare(world: World, alone: World, stored: int, sent: int) -> None:
    """All as if the winners had come alone, and the ledger's difference is 0."""
    found, wanted = everything(world.warehouse), everything(alone.warehouse)
    for name in wanted:
        assert found[name] == wanted[name], name
    counts = world.counts()
    assert len(found["events"]) == stored
    assert counts["accepted", ""] == sent
    assert counts.get(("duplicate", ""), 0) + counts.get(("duplicate", "conflict"), 0) == sent - stored
    assert world.warehouse.query(LATE) == alone.warehouse.query(LATE)


def test_the_same_id_of_another_user_on_another_partition_is_moved_away(some: list[Line]) -> None:
    """Both workers store it; then the winner stands alone in every table, and the ledger's difference is 0."""
    world = World()
    rng = random.Random(2)
    sent = some + _losers(some)
    rng.shuffle(sent)
    world.send(chunked(sent, rng))
    for worker in world.workers:
        worker.flush(everything=True)
    assert world.warehouse.query("SELECT count() AS n FROM events")[0]["n"] == len(sent)
    world.settle()
    assert world.conflicts() == {("user", True): CONFLICTS}
    assert world.counts()["duplicate", "conflict"] == CONFLICTS
    _check(world, some, len(sent))
    world.settle()
    _check(world, some, len(sent))
    assert world.warehouse.query("SELECT count() AS n FROM conflicts")[0]["n"] == 2 * CONFLICTS


def test_the_same_id_of_another_user_on_the_same_partition_is_dropped_and_noted(some: list[Line]) -> None:
    world = World()
    losers = [_other_user(line, elsewhere=False) for line in some[:CONFLICTS]]
    world.send(chunked(some + losers, random.Random(3)))
    world.settle()
    assert world.conflicts() == {("user", False): CONFLICTS}
    _check(world, some, len(some) + CONFLICTS)


def test_another_body_is_noted_and_the_same_one_is_not(some: list[Line]) -> None:
    """Also when its keys stand in another order, or its context is another."""
    world = World()
    changed = [{**line, "properties": {**line["properties"], "n": -1}} for line in some[:7]]
    moved_in_time = [{**line, "timestamp": line["timestamp"] - 1} for line in some[10:15]]
    same = [
        {**line, "properties": dict(reversed(line["properties"].items())), "context": {"platform": "web"}}
        for line in some[20:60]
    ]
    world.send(chunked(some + changed + moved_in_time + same, random.Random(3)))
    for _ in range(2):
        world.settle()
        assert world.conflicts() == {("body", False): 12}
    assert world.metrics.registry.get_sample_value("headrace_conflicts_total", {"kind": "body"}) == 12
    assert world.warehouse.query("SELECT count() AS n FROM duplicates")[0]["n"] == 52
    _check(world, some, len(some) + 52)


def test_whichever_came_first_stays_whatever_the_order(some: list[Line]) -> None:
    """Each id three times, on three partitions; the first received wins, also when it is stored last."""
    few = some[:30]
    seconds, thirds = (
        [_shifted({**line, "received_at": round(line["received_at"] + by, 3)}, by) for line in few] for by in (1, 2)
    )
    for number, order in enumerate([(thirds, seconds, few), (seconds, few, thirds)]):
        world, sent = World(), 0
        for place, part in enumerate(order):
            world.send(chunked(part, random.Random(100 * number + place)))
            sent += len(part)
            if number:
                world.settle()
        world.settle()
        assert world.warehouse.query("SELECT count() AS n FROM events")[0]["n"] == len(few)
        _check(world, few, sent)


def test_replays_after_restarts_bring_nothing_back(some: list[Line]) -> None:
    world = World()
    records = chunked(some + _losers(some), random.Random(4))
    world.send(records)
    world.watch.round()
    world.correct()
    for _ in range(2):
        world.start()
        world.send(records)
        world.send(world.kafka.log)
        world.settle()
        assert world.conflicts() == {("user", True): CONFLICTS}
        assert world.counts().get(("duplicate", ""), 0) == 0
        _check(world, some, len(some) + CONFLICTS)
    again = [{**line, "received_at": line["received_at"] + 5} for line in _losers(some)[:9]]
    world.send(chunked(again, random.Random(5)))
    world.settle()
    assert world.counts()["duplicate", ""] == 9
    _check(world, some, len(some) + CONFLICTS + 9)


def test_what_is_counted_after_a_correction_counts(some: list[Line]) -> None:
    """In the minutes and for the users that were corrected: events before, beside and after it."""
    world, rng = World(), random.Random(6)
    losers = _losers(some)
    first, beside, last = (
        [{**line, "event_id": f"{name}-{line['event_id']}", "slot": line["slot"]} for line in losers]
        for name in ("first", "beside", "last")
    )
    world.send(chunked(some + first + losers, rng))
    for worker in world.workers:
        worker.flush(everything=True)
    world.watch.round()
    world.kafka.records += chunked(beside, rng)
    world.correct()
    world.send(chunked(last, rng))
    world.settle()
    _check(world, some + first + beside + last, len(some) + 4 * CONFLICTS)


@pytest.mark.parametrize("owner", [0, 1])
def test_a_correction_overtakes_the_counts_it_corrects(some: list[Line], owner: int) -> None:
    """Also of cells that nothing is left of: their rows arrive after it was said that there is nothing."""
    slow = Slow()
    world = World(slow)
    losers = _losers(some)
    world.send(chunked(some + losers, random.Random(8)))

    def meanwhile() -> None:
        world.watch.round()
        world.correct()

    slow.meanwhile = meanwhile
    world.workers[owner].flush(everything=True)
    assert slow.meanwhile is None
    world.settle()
    _check(world, some, len(some) + len(losers))


def test_a_kill_before_any_write_of_job_or_worker_changes_nothing(some: list[Line]) -> None:
    """One kill for each write of a round and of the worker that handles its corrections."""
    few = some[:12]
    sent = few + _losers(few)[:3] + [{**line, "properties": {"n": 0}} for line in few[8:10]]
    alone = _alone(few, ManualClock(time.time()))
    deaths = 0
    for step in (*range(1, 9), 10, 12, 14, 99):
        mortal = Mortal()
        world = World(mortal)
        records = chunked(sent, random.Random(7))
        world.send(records)
        mortal.left = step
        try:
            world.watch.round()
            world.correct()
        except Killed:
            deaths += 1
            mortal.left = -1
            world.start()
            world.send([*records, *world.kafka.log])
        mortal.left = -1
        world.settle()
        assert world.conflicts() == {("user", True): 3, ("body", False): 2}
        assert world.counts()["duplicate", "conflict"] == 3
        _compare(world, alone, len(few), len(sent))
    assert deaths == 11, "conflicts, deletions, the ledger, what is settled, checkpoints; then windows and users"


def test_what_kafka_did_not_take_is_pending_until_it_does(some: list[Line]) -> None:
    world = World()
    world.send(chunked(some + _losers(some), random.Random(8)))
    world.kafka.fails = 1
    world.watch.look()
    assert world.warehouse.query("SELECT countIf(settled) AS n FROM conflicts FINAL")[0]["n"] == 0
    assert world.metrics.registry.get_sample_value(
        "headrace_worker_retries_total", {"role": "watch", "what": "conflicts"}
    )
    world.watch = world.watcher()
    world.settle()
    _check(world, some, len(some) + CONFLICTS)


def test_a_winner_of_long_ago_is_found_by_the_wide_pass(some: list[Line]) -> None:
    few, now = some[:20], time.time()
    world = World()
    world.send(chunked([{**line, "inserted_at": now - 90_000} for line in few], random.Random(9)))
    world.settle()
    world.send(chunked(_losers(few), random.Random(10)))
    world.settle()
    assert not world.conflicts()
    row = f"('conflicts', 'wide', {now - 3600:.3f}, 9999999999999)"
    world.warehouse.command(f"INSERT INTO checkpoints VALUES {row}")
    world.watch = world.watcher()
    world.settle()
    assert world.conflicts() == {("user", True): 20}
    _check(world, few, 40)


def test_a_correction_that_cannot_be_read_is_a_dead_letter(some: list[Line]) -> None:
    world = World()
    bad = Record(0, 7, b"{", {CORRECTION_HEADER: b"1"})
    world.send([bad, *chunked(some, random.Random(1))])
    (row,) = world.warehouse.query("SELECT message FROM rejected_events")
    assert "not a correction" in row["message"]
    assert world.warehouse.query("SELECT count() AS n FROM events")[0]["n"] == len(some)


def test_of_one_chunk_the_same_id_twice_is_a_duplicate_with_its_own_line(some: list[Line]) -> None:
    world = World()
    line = some[0]
    other = {**line, "properties": {"n": 5}}
    world.send([record([line, line, other, other], line["slot"] % PARTITIONS, 0, 77)])
    rows = world.warehouse.query("SELECT properties FROM duplicates FINAL")
    assert len(rows) == 2, "the same line twice in one chunk stands once"
    world.settle()
    assert world.conflicts() == {("body", False): 1}
    assert world.counts()["duplicate", ""] == 3
