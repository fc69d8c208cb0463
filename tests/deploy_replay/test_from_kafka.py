"""What Kafka holds gives the same tables again, through the worker's own core: after kills, and with late events."""

from __future__ import annotations

import random
from pathlib import Path

import orjson
import pytest

from deploy.embedded import warehouse
from deploy.kafka_admin import lag
from deploy.parts import group_of
from deploy.replay.shadow import databases
from schemas.errors import Permanent
from schemas.topics import EVENTS
from sinks.warehouse import Warehouse
from tests.deploy_replay.support import SEED, run_replay
from tests.integration.servers import (
    Stored,
    WorkerProcess,
    prepare,
    produce,
    settled,
    wait_for_rows,
    wait_until_read,
)
from tests.integration.traffic import chunks, lines, records, truth
from tests.kafka_servers import KafkaServer

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("replay")]

COUNT = 2_000


def test_events_and_kafka_say_the_same_as_killed_workers(kafka: KafkaServer, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    made = chunks(lines(COUNT, rng), rng, most=60)
    wanted = truth(made)
    handle = warehouse.start_process(tmp_path / "warehouse")
    settings = prepare(kafka, handle, tmp_path, WORKER_TAKE_CHUNKS="8", WORKER_GROUP="replayed")
    worker = WorkerProcess(settings, tmp_path)
    produce(kafka.url, EVENTS, records(made))
    stored = Stored(Warehouse(settings.warehouse))
    try:
        for share in (0.1, 0.3):
            worker.start()
            wait_for_rows(stored, int(share * COUNT), worker)
            worker.kill()
        worker.start()
        wait_until_read(settings, [worker])
        assert not settled(stored, wanted)
        again = run_replay(settings, source="kafka", name="kafka", what=("windows", "user_state", "events"))
        assert again["same"] and again["events"] == COUNT, again
        assert again["tables"]["events"]["rows"] == COUNT
        assert run_replay(settings)["tables"]["windows"]["hash"] == again["tables"]["windows"]["hash"]
        assert sum(lag(kafka.url, group_of(settings, "events"), (EVENTS,)).values()) == 0, "nobody's offsets moved"
        assert lag(kafka.url, "headrace-replay", (EVENTS,))[EVENTS] == len(records(made)), "and nothing was committed"
        line = {**made[0][0][1][0], "event_id": "one that fell out of the topic"}
        stored_only = Warehouse(settings.warehouse)
        stored_only.insert_lines("events", orjson.dumps(line) + b"\n")
        with pytest.raises(Permanent, match="a swap would lose"):
            run_replay(settings, source="kafka", name="less", swap=True)
        assert databases(stored_only) == []
    finally:
        worker.end()
        handle.stop()
