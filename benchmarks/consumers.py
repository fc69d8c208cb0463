"""The consumers that `benchmarks/processor.py` compares: `python benchmarks/consumers.py KIND KAFKA COUNT GROUP`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PLAIN = "bench.plain"
PARTITIONS = 4


class Meter:
    """Counts events; at `target` prints events a second and events a CPU second, and ends the process."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._seen = 0
        self._began: float | None = None
        self._cpu = 0.0

    def begin(self) -> None:
        if self._began is None:
            self._began, self._cpu = time.perf_counter(), time.process_time()

    def add(self, n: int) -> None:
        self._seen += n
        if self._seen >= self._target and self._began is not None:
            wall, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu
            os.write(1, f"\nrate {self._target / wall} {self._target / cpu}\n".encode())  # Faust redirects print
            self._target = sys.maxsize
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()


class Counting:
    """The counting job: exact deduplication by id, counts by (event type, campaign, minute)."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.counts: Counter[tuple[str, str, int]] = Counter()

    def add(self, event: Mapping[str, Any]) -> None:
        if event["event_id"] not in self.ids:
            self.ids.add(event["event_id"])
            self.counts[event["event_type"], event["campaign_id"], int(event["timestamp"]) // 60] += 1


def plain(kafka: str, meter: Meter, group: str) -> None:
    """A Faust agent as the manual shows it: a JSON event a record."""
    import faust

    app = faust.App(
        group,
        broker=f"kafka://{kafka}",
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        broker_session_timeout=6,
        broker_heartbeat_interval=1,
        consumer_auto_offset_reset="earliest",
    )
    job = Counting()

    @app.agent(app.topic(PLAIN, value_serializer="json"))
    async def count(events: Any) -> None:
        async for event in events:
            meter.begin()
            job.add(event)
            meter.add(1)

    faust.Worker(app, loglevel="ERROR", quiet=True).execute_from_commandline()


def quix(kafka: str, meter: Meter, group: str) -> None:
    """Quix Streams: a streaming data frame over the same records."""
    from quixstreams import Application

    app = Application(
        broker_address=kafka,
        consumer_group=group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        loglevel="ERROR",
        consumer_extra_config={"session.timeout.ms": 6000},
    )
    job = Counting()

    def count(event: Mapping[str, Any]) -> None:
        meter.begin()
        job.add(event)
        meter.add(1)

    app.dataframe(app.topic(PLAIN, value_deserializer="json")).update(count)
    app.run()


class Nothing:
    """A warehouse that holds nothing and forgets everything, a sink and an emitter."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """No rows where rows are asked for, and zeros where something is counted."""
        counts = (
            "SELECT count()",
            "SELECT max(",
            "SELECT greatest(",
            "SELECT toFloat64(now64",
            "SELECT toFloat64(argMax",
        )
        return [defaultdict(int)] if sql.startswith(counts) else []

    def query_bytes(self, sql: str, fmt: str) -> bytes:
        return b""

    def insert_lines(self, table: str, ndjson: bytes) -> None:
        return

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> None:
        return

    def emit(self, topic: str, value: bytes) -> None:
        return

    def write(
        self, events: bytes, ledger: Sequence[Any], rejected: Sequence[Any], duplicates: bytes = b""
    ) -> Sequence[Any]:
        return ()


def headrace(kafka: str, meter: Meter, group: str, *, counting: bool = False) -> None:
    """Our worker, without a sink. `counting`: only the steps that the others' job has."""
    from schemas.clock import SystemClock
    from schemas.taxonomy import shipped_packs
    from stream_processors.batch import Batch
    from stream_processors.faust_app import run_app
    from stream_processors.metrics import WorkerMetrics
    from stream_processors.path import drop_duplicates, roll_up_windows
    from stream_processors.settings import ProcessorSettings
    from stream_processors.worker import Worker, WorkerPorts

    clock, metrics, nothing = SystemClock(), WorkerMetrics("events"), Nothing()
    settings = ProcessorSettings(kafka=kafka, group=group, session_timeout=6, partitions=PARTITIONS)
    ports = WorkerPorts(nothing, nothing, nothing, nothing, nothing, clock)
    worker = Worker(settings, {name: pack.roles for name, pack in shipped_packs().items()}, ports, metrics)
    if counting:
        worker.processor.path = (drop_duplicates, roll_up_windows)
    process, stored = worker.processor.process, worker.processor.stored

    def timed_process(records: Any) -> Any:
        meter.begin()
        return process(records)

    def timed_stored(batch: Batch) -> None:
        stored(batch)
        meter.add(sum(len(chunk.fresh or ()) for chunk in batch.chunks))

    worker.processor.process = timed_process  # type: ignore[method-assign]
    worker.processor.stored = timed_stored  # type: ignore[method-assign]
    run_app("events", settings, worker.routes(), worker.background(), clock, metrics)


def main() -> None:
    kind, kafka, count, group = sys.argv[1:5]
    kinds = {"plain": plain, "quix": quix, "headrace": headrace, "counting": partial(headrace, counting=True)}
    kinds[kind](kafka, Meter(int(count)), group)


if __name__ == "__main__":
    main()
