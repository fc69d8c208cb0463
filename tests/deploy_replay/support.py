"""A worker over an embedded warehouse that speaks HTTP, with traffic as a bad network delivers it, and its replay."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.migrations import migrate_tables
from deploy.replay.request import Request, Span
from deploy.replay.run import World, replay
from deploy.settings import Settings, load
from schemas.clock import Clock, SystemClock
from schemas.taxonomy import shipped_packs
from schemas.wire import LedgerLine, RejectedLine, encode_lines
from sinks.warehouse import Warehouse
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import Record
from stream_processors.sql import Roles
from stream_processors.worker import Worker, WorkerPorts
from tests.integration.traffic import Chunks, chunks, lines, records
from tests.support.workers import Emitted

SEED = 20_261_121
ROLES: dict[str, Roles] = {name: pack.roles for name, pack in shipped_packs().items()}


def settings_of(url: str, database: str, folder: Path) -> Settings:
    """Settings over a fresh database, with tables made."""
    settings = load({"HEADRACE_DATA_DIR": str(folder), "HEADRACE_WAREHOUSE_URL": f"{url}/{database}"})
    migrate_tables(settings, SystemClock())
    return settings


class Sink:
    """The sink port, straight into the tables."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def write(
        self,
        events: bytes,
        ledger: Sequence[LedgerLine],
        rejected: Sequence[RejectedLine],
        duplicates: bytes = b"",
    ) -> None:
        self._warehouse.insert_lines("events", events)
        self._warehouse.insert_lines("ledger", encode_lines(ledger))
        self._warehouse.insert_lines("rejected_events", encode_lines(rejected))


def make_worker(settings: Settings, clock: Clock, roles: Mapping[str, Roles] = ROLES) -> Worker:
    """A worker's core over the settings' warehouse."""
    warehouse = Warehouse(settings.warehouse)
    sink = Sink(warehouse)
    ports = WorkerPorts(warehouse, warehouse, sink, sink, Emitted(), clock)
    return Worker(settings.worker, roles, ports, WorkerMetrics("events"))


def traffic(count: int, seed: int = SEED) -> list[Record]:
    """Shuffled, duplicated and late events of two tenants."""
    rng = random.Random(seed)
    made: Chunks = chunks(lines(count, rng), rng, most=40)
    return records(made)


def run_replay(settings: Settings, roles: Mapping[str, Roles] = ROLES, **wanted: Any) -> dict[str, Any]:
    """The summary of a replay of everything, unless told otherwise."""
    fields: dict[str, Any] = {
        "span": Span(),
        "source": "events",
        "name": "test",
        "what": ("windows", "user_state"),
        **wanted,
    }
    return replay(World(settings, roles, SystemClock(), lambda what, done, total: None), Request(**fields))
