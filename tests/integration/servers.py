"""A broker and an embedded warehouse with topics and tables, workers that can be killed, and what is stored."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import confluent_kafka

from deploy import kafka_admin
from deploy.embedded.process import ServerHandle
from deploy.kafka_admin import lag
from deploy.migrations import create_all_topics, migrate_tables
from deploy.parts import CONSUMED, group_of
from deploy.settings import Settings, load, to_environment
from schemas.clock import SystemClock
from sinks.warehouse import Warehouse
from stream_processors.ports import Record
from tests.integration.traffic import DIMENSIONS, Truth
from tests.kafka_servers import KafkaServer
from tests.support.processes import HeadraceProcess

PATIENCE = 120.0


def prepare(broker: KafkaServer, warehouse: ServerHandle, folder: Path, **more: str) -> Settings:
    """Settings over these servers, with topics and tables made. `more`: settings without their prefix."""
    settings = load(
        {
            "HEADRACE_DATA_DIR": str(folder),
            "HEADRACE_KAFKA_BOOTSTRAP": broker.url,
            "HEADRACE_KAFKA_REPLICATION": str(broker.replication),
            "HEADRACE_KAFKA_SESSION_TIMEOUT": "3",
            "HEADRACE_WAREHOUSE_URL": warehouse.url,
            **{f"HEADRACE_{name}": value for name, value in more.items()},
        }
    )
    clock = SystemClock()
    create_all_topics(settings, clock)
    migrate_tables(settings, clock)
    return settings


def produce(kafka: str, topic: str, records: Iterable[Record]) -> None:
    """Put records into their partitions, in order, and wait for Kafka."""
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "linger.ms": 20})
    problems: list[Any] = []
    for one in records:
        headers = list(one.headers.items())
        producer.produce(
            topic, one.value, partition=one.partition, headers=headers, on_delivery=lambda e, _: problems.append(e)
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    assert not any(problems), problems


def committed(kafka: str, group: str, topic: str, partitions: int = 4) -> list[int]:
    """The acknowledged offset of each partition; 0 where nothing was."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": kafka, "group.id": group, "enable.auto.commit": False})
    try:
        places = [confluent_kafka.TopicPartition(topic, number) for number in range(partitions)]
        return [max(0, place.offset) for place in kafka_admin.committed(consumer, places, 10.0, SystemClock())]
    finally:
        consumer.close()


class WorkerProcess(HeadraceProcess):
    """`headrace process --role events`; `start` it as often as it was killed."""

    def __init__(self, settings: Settings, folder: Path, name: str = "worker") -> None:
        super().__init__(("process", "--role", "events"), to_environment(settings), folder / f"{name}.log")

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.term()
        return 0


def wait_until_read(settings: Settings, workers: Iterable[WorkerProcess], role: str = "events") -> None:
    """Wait until the group has acknowledged everything."""
    deadline = time.monotonic() + PATIENCE
    while sum(lag(settings.kafka.bootstrap, group_of(settings, role), CONSUMED[role]).values()):
        for worker in workers:
            worker.check()
        assert time.monotonic() < deadline, "the worker does not come to the end of its topics"
        time.sleep(0.1)


def wait_for_rows(stored: Stored, rows: int, worker: WorkerProcess) -> int:
    """Return as soon as the table has so many rows; how many it has."""
    deadline = time.monotonic() + PATIENCE
    while (found := stored.count()) < rows:
        worker.check()
        assert time.monotonic() < deadline, f"{found} of {rows} rows"
    return found


def settled(stored: Stored, wanted: Truth) -> dict[str, list[Any]]:
    """The differences, once windows and users had time to be written; old minutes are recomputed after a pause."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = differences(stored, wanted)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


class Stored:
    """What the warehouse shows, in the shapes of `Truth`."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def count(self) -> int:
        """Rows of `events`, repetitions included."""
        return int(self._warehouse.query("SELECT count() AS n FROM events")[0]["n"])

    def chunks(self) -> set[int]:
        """The numbers of the chunks that any stored row came with."""
        return {int(row["chunk"]) for row in self._warehouse.query("SELECT DISTINCT chunk FROM events")}

    def events(self) -> dict[tuple[str, str], dict[str, Any]]:
        rows = self._warehouse.query("SELECT * EXCEPT (inserted_at) FROM events FINAL")
        found = {(row["tenant"], row["event_id"]): row for row in rows}
        assert len(found) == len(rows), "an event is there twice"
        for row in rows:
            row.update({name: json.loads(row[name]) for name in ("properties", "context")})
        return found

    def windows(self) -> dict[tuple[Any, ...], tuple[int, int, int, int]]:
        key = f"tenant, toUnixTimestamp(minute) AS at, event_type, subtype, {', '.join(DIMENSIONS)}"
        rows = self._warehouse.query(
            f"SELECT {key}, sum(events) AS e, sum(users) AS u, sum(amount_micros) AS a, sum(late) AS l"
            " FROM windows FINAL WHERE events > 0 GROUP BY ALL"
        )
        return {tuple(row.values())[:8]: tuple(map(int, tuple(row.values())[8:])) for row in rows}  # type: ignore[misc]

    def users(self) -> dict[tuple[str, str], dict[str, Any]]:
        rows = self._warehouse.query("SELECT * EXCEPT (version) FROM user_state FINAL WHERE events > 0")
        return {(row.pop("tenant"), row.pop("user_id")): row for row in rows}

    def ledger(self) -> Counter[tuple[str, str, int]]:
        rows = self._warehouse.query(
            "SELECT tenant, stage, toUnixTimestamp(minute) AS at, sum(n) AS n FROM ledger FINAL GROUP BY ALL"
        )
        return Counter({(row["tenant"], row["stage"], int(row["at"])): int(row["n"]) for row in rows})


def differences(stored: Stored, wanted: Truth) -> dict[str, list[Any]]:
    """Up to three differences of each kind; nothing when all is as it must be."""
    found: dict[str, list[Any]] = {}
    for name, want in wanted._asdict().items():
        got = getattr(stored, name)()
        wrong = [
            (key, "wanted", want.get(key), "got", got.get(key))
            for key in {**want, **got}
            if not _same(want.get(key), got.get(key))
        ]
        if wrong:
            found[f"{name} ({len(wrong)})"] = wrong[:3]
    return found


def _same(want: Any, got: Any) -> bool:
    if isinstance(want, dict) and isinstance(got, dict):
        return all(_same(value, got[key]) for key, value in want.items())
    if isinstance(want, float) and isinstance(got, (int, float)):
        return abs(want - got) < 1e-6  # times, of whole milliseconds
    return bool(want == got)
