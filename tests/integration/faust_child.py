"""A worker process whose handler does what its first argument says: hold, store, or fail in handle, store or timer.

`python -m tests.integration.faust_child WHAT KAFKA TOPIC FILE`: each record that reaches the handler (`hold`) or is
stored (`store`) becomes a line of FILE. The record `boom` sets off the failure. Two plant what Faust has been seen to
do: `never acknowledges` stores and commits nothing, `never fetches` is assigned its partition and takes no record. When
it leaves, `leaves` writes whether the group still counts it as a member: `member` or `gone`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from deploy.kafka_admin import stable_groups
from deploy.kafka_lag import KafkaLag
from schemas.clock import SystemClock
from stream_processors import faust_app
from stream_processors.faust_app import run_app
from stream_processors.faust_consumer import ConsumerThread
from stream_processors.lease import Lease
from stream_processors.metrics import WorkerMetrics
from stream_processors.offsets import Offsets
from stream_processors.ports import Record
from stream_processors.routes import Background, Route, Store
from stream_processors.settings import ProcessorSettings
from stream_processors.watchdog import Guard, Outage

STALL_SECONDS = 6.0


class Bomb(BaseException):
    """Nobody foresaw it."""


class Handler:
    """Handles, stores and ticks as `what` says."""

    def __init__(self, what: str, path: Path) -> None:
        self._what, self._path = what, path
        self._lock = threading.Lock()
        self._bomb_seen = threading.Event()

    def handle(self, records: Sequence[Record]) -> Store:
        bomb = any(record.value == b"boom" for record in records)
        if bomb:
            self._bomb_seen.set()
        if bomb and self._what == "handle fails":
            raise Bomb
        if bomb and self._what == "timer fails":
            threading.Event().wait()
        if self._what == "hold":
            self.note(record.value for record in records)
        return lambda: self._store(records, bomb)

    def tick(self) -> None:
        if self._what == "timer fails" and self._bomb_seen.is_set():
            raise RuntimeError("not foreseen")

    def _store(self, records: Sequence[Record], bomb: bool) -> None:
        if self._what == "hold":
            threading.Event().wait()
        if bomb and self._what == "store fails":
            raise RuntimeError("not foreseen")
        self.note(record.value for record in records)

    def note(self, values: Iterable[bytes]) -> None:
        with self._lock, self._path.open("ab") as file:
            file.write(b"".join(value + b"\n" for value in values))
            file.flush()
            os.fsync(file.fileno())


def main() -> None:
    what, kafka, topic, path = sys.argv[1:5]
    handler = Handler(what, Path(path))
    patience = STALL_SECONDS if what.startswith("never") else 120.0
    settings = ProcessorSettings(
        kafka=kafka, partitions=1, group=topic, session_timeout=2.0, take_chunks=10, stall_seconds=patience
    )
    route = Route(topic, handler.handle, lambda partitions: None, settings.take_chunks, settings.take_seconds)
    timer = Background("tick", 0.1, handler.tick)
    clock = SystemClock()
    guard = Guard(Outage(clock), Lease(clock, 2.0), KafkaLag(kafka, f"{topic}-events", [topic], clock))
    _plant(what)
    faust_app.STOP_SECONDS = 2.0

    def leave() -> None:
        if what == "leaves":
            group = f"{topic}-events"
            handler.note([b"member" if group in stable_groups(kafka, [group]) else b"gone"])

    run_app("events", settings, (route,), (timer,), clock, WorkerMetrics("events"), guard=guard, leave=leave)


def _plant(what: str) -> None:
    def nothing(*_: Any) -> None:
        pass

    async def no_records(*_: Any) -> dict[Any, Any]:
        await asyncio.sleep(0.1)
        return {}

    if what == "never acknowledges":
        Offsets.done = nothing
    if what == "never fetches":
        ConsumerThread.getmany = no_records


if __name__ == "__main__":
    main()
