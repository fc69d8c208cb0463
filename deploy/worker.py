"""Wiring of one worker of the event path: the warehouse, the sink, the emitter and Faust around `Worker`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deploy.floods import make_guards, sink_guard, wait_for_way_on
from deploy.kafka_lag import KafkaLag
from deploy.noted import NotedWarehouse
from deploy.parts import CONSUMED, group_of
from deploy.publisher import Emitter
from schemas.clock import SystemClock, random_u32
from schemas.taxonomy import shipped_packs
from schemas.wire import LedgerLine, RejectedLine
from sinks.floods import FloodBook
from sinks.suppressions import SuppressionBook
from sinks.warehouse import Warehouse
from sinks.writer import EventBatch, EventSink
from stream_processors.faust_app import run_app
from stream_processors.lease import Lease
from stream_processors.metrics import WorkerMetrics
from stream_processors.watchdog import Guard, Outage
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
    ) -> Sequence[RejectedLine]:
        return self._sink.write(EventBatch(events, ledger, rejected, duplicates)).refused


def run_worker(settings: Settings) -> None:
    """Run a worker of the event path until SIGTERM (blocks)."""
    clock = SystemClock()
    outage, lease = Outage(clock), Lease(clock, settings.worker.session_timeout)
    lag = KafkaLag(settings.kafka.bootstrap, group_of(settings, "events"), CONSUMED["events"], clock)
    metrics = WorkerMetrics("events")
    metrics.serve(settings.worker.metrics_port, settings.worker.metrics_host)
    book = FloodBook(Warehouse(settings.warehouse), clock)
    until = wait_for_way_on(settings, book, clock)

    def sink() -> WorkerSink:
        chance, guard = random.Random(random_u32()), sink_guard(settings, until)
        warehouse = NotedWarehouse(settings.warehouse, outage)
        return WorkerSink(EventSink(warehouse, clock, chance, settings.writer, guard=guard))

    ports = WorkerPorts(
        warehouse=NotedWarehouse(settings.warehouse, outage),
        flush_warehouse=NotedWarehouse(settings.warehouse, outage),
        sink=sink(),
        side_sink=sink(),
        emit=Emitter(settings.kafka.bootstrap),
        clock=clock,
        guards=make_guards(settings, book, until),
        holds=lease.holds,
        suppressions=SuppressionBook(NotedWarehouse(settings.warehouse, outage)),
    )
    worker = Worker(settings.worker, {name: pack.roles for name, pack in shipped_packs().items()}, ports, metrics)
    run_app(
        "events",
        settings.worker,
        worker.routes(),
        worker.background(),
        clock,
        metrics,
        guard=Guard(outage, lease, lag),
        leave=lambda: worker.flush(everything=True),
    )
