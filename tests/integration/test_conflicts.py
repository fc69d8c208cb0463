"""The same id for another user, over real servers: two workers store it, one stays, and all is as if it came alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded import warehouse
from deploy.embedded.process import ServerHandle
from deploy.publisher import Emitter
from schemas.clock import SystemClock
from schemas.topics import EVENTS
from schemas.wire import slot_of
from sinks.warehouse import Warehouse
from stream_processors.metrics import WorkerMetrics
from stream_processors.settings import WatcherSettings
from stream_processors.watch.conflicts import ConflictWatch
from tests.e2e.doors import Doors, eventually
from tests.e2e.events import event
from tests.integration.servers import (
    PATIENCE,
    Stored,
    WorkerProcess,
    prepare,
    produce,
    settled,
    wait_for_rows,
    wait_until_read,
)
from tests.integration.traffic import Chunks, Line, Truth, chunks, lines, records, truth
from tests.kafka_servers import KafkaServer

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("stack")]

COUNT = 3_000
CONFLICTS = 300
SEED = 9


@pytest.fixture
def house(tmp_path: Path) -> Iterator[ServerHandle]:
    handle = warehouse.start_process(tmp_path / "warehouse")
    yield handle
    handle.stop()


def _strangers(some: list[Line]) -> list[Line]:
    """The same ids for other users, received later or earlier; some of these are on the same partition."""
    return [
        {
            **line,
            "user_id": f"stranger-{n % 50}",
            "slot": slot_of(line["tenant"], f"stranger-{n % 50}"),
            "received_at": round(line["received_at"] + 20 * (-1) ** n, 3),
            "amount_micros": line["amount_micros"] + 1,
        }
        for n, line in enumerate(some[:CONFLICTS])
    ]


def _winners(made: Chunks) -> tuple[Truth, int]:
    """What must be there, and how many conflicts.

    Of a partition's lines with the same id the first holds; of these, over all partitions, the one received first.
    """
    ledger: Counter[tuple[str, str, int]] = Counter()
    firsts: dict[tuple[str, str], list[tuple[float, int, Line]]] = {}
    for queue in made:
        seen = set()
        for number, some in queue:
            for line in some:
                key, minute = (line["tenant"], line["event_id"]), int(line["received_at"]) // 60 * 60
                ledger[line["tenant"], "accepted", minute] += 1
                if key in seen:
                    ledger[line["tenant"], "duplicate", minute] += 1
                else:
                    firsts.setdefault(key, []).append((line["received_at"], number, line))
                seen.add(key)
    kept: Chunks = [[]]
    for found in firsts.values():
        (_, number, winner), *losers = sorted(found, key=lambda one: one[:2])
        kept[0].append((number, [winner]))
        for at, _, loser in losers:
            ledger[loser["tenant"], "duplicate", int(at) // 60 * 60] += 1
    alone = truth(kept)
    late = Counter({key: n for key, n in alone.ledger.items() if key[1] == "late"})
    return alone._replace(ledger=ledger + late), sum(len(found) - 1 for found in firsts.values())


def test_one_stays_and_everything_follows_though_a_worker_is_killed(
    kafka: KafkaServer, house: ServerHandle, tmp_path: Path
) -> None:
    rng = random.Random(SEED)
    some = lines(COUNT, rng)
    sent = some + _strangers(some)
    rng.shuffle(sent)
    made = chunks(sent, rng, most=60)
    wanted, conflicts = _winners(made)
    assert conflicts > CONFLICTS / 2
    settings = prepare(kafka, house, tmp_path, WORKER_TAKE_CHUNKS="4", WORKER_GROUP="conflicts")
    warehouse_ = Warehouse(settings.warehouse)
    stored = Stored(warehouse_)
    emitter = Emitter(settings.kafka.bootstrap)
    watch = ConflictWatch(WatcherSettings(), warehouse_, emitter, SystemClock(), WorkerMetrics("watch"))
    workers = [WorkerProcess(settings, tmp_path, f"worker-{n}") for n in range(2)]
    produce(kafka.url, EVENTS, records(made))
    try:
        for worker in workers:
            worker.start()
        wait_for_rows(stored, COUNT // 3, workers[0])
        watch.round()
        workers[0].kill()
        workers[0].start()
        wait_until_read(settings, workers)
        watch.round()
        wait_until_read(settings, workers)
        missing = _settled(stored, wanted)
        for worker in workers:
            assert worker.stop() == 0
    finally:
        for worker in workers:
            worker.end()
    assert not missing
    rows = warehouse_.query("SELECT kind, moved, settled, count() AS n FROM conflicts FINAL GROUP BY ALL")
    moved = {row["kind"]: row["n"] for row in rows if row["moved"]}
    assert moved == {"user": conflicts}
    assert all(row["settled"] for row in rows)


def _settled(stored: Stored, wanted: Truth) -> dict[str, list[object]]:
    """The differences; a count of 0 is none."""
    found = settled(stored, wanted)
    return {name: wrong for name, wrong in found.items() if wrong}


def test_a_conflict_through_the_public_doors_is_counted_and_shown(doors: Doors) -> None:
    """The whole of `headrace up`: the watcher moves it, the worker counts again, the API says so."""
    first = event("user_engaged", "ann", engagement_type="search", query="a")
    users = iter(f"bob-{n}" for n in range(1000))
    other = next(user for user in users if slot_of(doors.tenant, user) % 4 != slot_of(doors.tenant, "ann") % 4)
    assert doors.send([first]).status_code == 200
    assert doors.send([{**first, "user_id": other}]).status_code == 200
    assert doors.send([{**first, "properties": {**first["properties"], "query": "b"}}]).status_code == 200
    found = eventually(
        lambda: doors.get("/conflicts")["conflicts"],
        lambda some: len(some) == 2 and all(one["settled"] for one in some),
        within=PATIENCE,
        every=0.5,
    )
    shown = {one["kind"]: one for one in found}
    assert (shown["user"]["stays"]["user_id"], shown["user"]["went"]["user_id"]) == ("ann", other)
    assert shown["body"]["went"]["properties"]["query"] == "b"
    ledger = doors.settled()
    assert (ledger["accepted"], ledger["stored"], ledger["duplicates"]) == (3, 1, 2)
    assert doors.value("events", event_type="user_engaged") == 1
    eventually(
        lambda: doors.get("/windows", window="1h", event_type="user_engaged")["total"]["events"], lambda n: n == 1
    )
