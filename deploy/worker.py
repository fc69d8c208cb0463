"""Wiring of one worker of the event path: the warehouse, the sink, the emitter and Faust around `Worker`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deploy.publisher import Emitter
from schemas.clock import SystemClock, random_u32
from schemas.taxonomy import shipped_packs
from schemas.wire import LedgerLine, RejectedLine
from sinks.warehouse import Warehouse
from sinks.writer import EventBatch, EventSink
from stream_processors.faust_app import run_app
from stream_processors.metrics import WorkerMetrics
from stream_processors.worker import Worker, WorkerPorts

if TYPE_CHECKING:
    from deploy.settings import Settings


class WorkerSink:
    """`EventSink` under the worker's port."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink

    def write(
        self,
        events: bytes,
        ledger: Sequence[LedgerLine],
        rejected: Sequence[RejectedLine],
        duplicates: bytes = b"",
    ) -> None:
        self._sink.write(EventBatch(events, ledger, rejected, duplicates))


def run_worker(settings: Settings) -> None:
    """Run a worker of the event path until SIGTERM (blocks)."""
    clock = SystemClock()

    def sink() -> WorkerSink:
        chance = random.Random(random_u32())
        return WorkerSink(EventSink(Warehouse(settings.warehouse), clock, chance, settings.writer))

    ports = WorkerPorts(
        warehouse=Warehouse(settings.warehouse),
        flush_warehouse=Warehouse(settings.warehouse),
        sink=sink(),
        side_sink=sink(),
        emit=Emitter(settings.kafka.bootstrap),
        clock=clock,
    )
    metrics = WorkerMetrics("events")
    worker = Worker(settings.worker, {name: pack.roles for name, pack in shipped_packs().items()}, ports, metrics)
    metrics.serve(settings.worker.metrics_port, settings.worker.metrics_host)
    try:
        run_app("events", settings.worker, worker.routes(), worker.background(), clock, metrics)
    finally:
        worker.flush(everything=True)
