"""A worker's core wired to the real engine in this process, without Kafka."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.clock import ManualClock
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import Record
from stream_processors.settings import ProcessorSettings
from stream_processors.worker import Worker, WorkerPorts
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.chunks import NOW, PARTITIONS, ROLES


class Emitted:
    """Remembers what was emitted."""

    def __init__(self) -> None:
        self.values: list[tuple[str, bytes]] = []

    def emit(self, topic: str, value: bytes) -> None:
        self.values.append((topic, value))


def make_worker(
    warehouse: ChdbWarehouse,
    *,
    clock: ManualClock | None = None,
    partitions: int = PARTITIONS,
    recent_ids: int = 20_000,
) -> Worker:
    """A worker over `warehouse`; its state is empty until the first records."""
    settings = ProcessorSettings(partitions=partitions, recent_ids=recent_ids)
    ports = WorkerPorts(warehouse, warehouse, warehouse, warehouse, Emitted(), clock or ManualClock(NOW))
    return Worker(settings, ROLES, ports, WorkerMetrics("events"))


def run(worker: Worker, records: Sequence[Record], *, take: int = 7) -> None:
    """Handle and store the records in takes of `take`."""
    for start in range(0, len(records), take):
        worker.handle_events(records[start : start + take])()


def settle(worker: Worker, clock: ManualClock) -> None:
    """Flush until nothing waits."""
    worker.flush()
    clock.advance(30)
    worker.flush()


EVENTS = "SELECT * EXCEPT (inserted_at, chunk, received_at) FROM events FINAL ORDER BY tenant, event_id"
WINDOWS = "SELECT * EXCEPT (version, shard) FROM windows FINAL WHERE events > 0 ORDER BY ALL"
USERS = "SELECT * EXCEPT (version) FROM user_state FINAL WHERE events > 0 ORDER BY ALL"
LEDGER = "SELECT tenant, stage, sum(n) AS n FROM ledger FINAL GROUP BY ALL ORDER BY ALL"


def everything(warehouse: ChdbWarehouse) -> dict[str, list[dict[str, object]]]:
    """All that a reader could see, but for what names the run (chunks, versions, insertion times)."""
    return {
        "events": warehouse.query(EVENTS),
        "windows": warehouse.query(WINDOWS),
        "users": warehouse.query(USERS),
    }
