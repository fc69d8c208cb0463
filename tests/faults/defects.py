"""What can be planted in a child process: instruments that a scenario needs, and the defects that it must notice.

Each is a function that replaces a piece of the product in the running process. A plant whose piece is no longer there
fails at once (`_replace`), so that a change of the product cannot make a check idle without a word.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import wraps
from typing import Any

from tests.faults import defects_servers


def plant(text: str) -> None:
    """Plant `name` or `name=value`."""
    name, _, value = text.partition("=")
    assert name in PLANTS, f"nothing to plant is called {name!r}; there are: {', '.join(sorted(PLANTS))}"
    PLANTS[name](value)


def _replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put `make(old)` in the place of an attribute, which must be there."""
    setattr(owner, name, make(getattr(owner, name)))


# Instruments: they break nothing that the product promises.


def trace(path: str) -> None:
    """Write `partition offset` of every chunk that reaches the handler to a file: what was delivered again."""
    from stream_processors.worker import Worker

    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def make(handle: Any) -> Any:
        @wraps(handle)
        def traced(self: Any, records: Sequence[Any]) -> Any:
            os.write(file, "".join(f"{one.partition} {one.offset}\n" for one in records).encode())
            return handle(self, records)

        return traced

    _replace(Worker, "handle_events", make)


def die_after_insert(value: str) -> None:
    """kill -9 of this process between the insert of its batch number N and the acknowledgement."""
    from sinks.writer import EventSink

    after, lock, inserted = int(value or 1), threading.Lock(), [0]

    def make(write: Any) -> Any:
        @wraps(write)
        def dying(self: Any, batch: Any) -> Any:
            result = write(self, batch)
            with lock:
                inserted[0] += bool(batch.events)
                if inserted[0] >= after:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        return dying

    _replace(EventSink, "write", make)


def die_before_ledger(value: str) -> None:
    """kill -9 between the rows of `events` of batch number N and its rows of `ledger`."""
    from sinks.writer import EventSink

    after, lock, inserted = int(value or 1), threading.Lock(), [0]

    def make(write: Any) -> Any:
        @wraps(write)
        def dying(self: Any, lines: bytes, *more: Any) -> Any:
            result = write(self, lines, *more)
            with lock:
                inserted[0] += bool(lines)
                if inserted[0] >= after:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        return dying

    _replace(EventSink, "_write_events", make)


def flaky_sink(value: str) -> None:
    """This share of the inserts fails: half of them before the rows are stored, half after, with the answer lost."""
    from schemas.errors import Retryable
    from sinks.warehouse import Warehouse

    share, chance, lock = float(value or 0.01), random.Random(7), threading.Lock()

    def make(insert: Any) -> Any:
        @wraps(insert)
        def flaky(self: Any, table: str, *more: Any, **named: Any) -> None:
            with lock:
                draw = chance.random()
            if draw < share / 2:
                raise Retryable("planted: the connection broke before the rows were stored")
            insert(self, table, *more, **named)
            if draw < share:
                raise Retryable("planted: the connection broke after the rows were stored")

        return flaky

    _replace(Warehouse, "insert_lines", make)


# Defects: each breaks a promise, and some scenario must say so.


def acknowledge_before_insert(value: str) -> None:
    """The worker acknowledges what it has taken, and stores it afterwards (`value`: seconds later, 1.0)."""
    from stream_processors import faust_app

    def make(_: Any) -> Any:
        async def store_late(store: Any, acknowledge: Any, topic: str, *more: Any) -> None:
            await acknowledge()
            await asyncio.sleep(float(value or 1.0))
            await asyncio.to_thread(store)

        return store_late

    _replace(faust_app, "_store", make)


def take_for_noack_take(_: str) -> None:
    """The stream acknowledges a batch as soon as it is handed out, as `Stream.take` does."""
    from faust.streams import Stream

    def make(noack_take: Any) -> Any:
        async def take(self: Any, max_: int, within: float) -> AsyncIterator[Any]:
            async for events in noack_take(self, max_, within):
                for event in events:
                    message = event.message
                    self.app.transport.offsets.done((message.topic, message.partition), message.offset)
                yield events
                await asyncio.sleep(0.5)

        return take

    _replace(Stream, "noack_take", make)


def commit_on_failure(_: str) -> None:
    """A batch whose insert fails is acknowledged all the same, and the worker goes on."""
    from schemas.errors import Retryable
    from sinks import writer
    from stream_processors import faust_app

    def once(_: Any) -> Any:
        return lambda call, *more, **named: call()

    def make(_: Any) -> Any:
        async def store_or_not(store: Any, acknowledge: Any, topic: str, *more: Any) -> None:
            with contextlib.suppress(Retryable):
                await asyncio.to_thread(store)
            await acknowledge()

        return store_or_not

    _replace(writer, "with_retries", once)
    _replace(faust_app, "_store", make)


def forgotten_ids(_: str) -> None:
    """A worker that takes over a partition does not load the ids that are stored."""
    import numpy as np

    from stream_processors.recovery import Recovery

    def make(_: Any) -> Any:
        return lambda _, partitions: {partition: np.empty(0, dtype=np.uint64) for partition in partitions}

    _replace(Recovery, "_fingerprints", make)


def forgotten_windows(_: str) -> None:
    """A worker that takes over a partition begins its window cells at zero."""
    from stream_processors.recovery import Recovery

    _replace(Recovery, "_load_windows", lambda _: lambda *_: None)


def forgotten_users(_: str) -> None:
    """A worker that takes over a partition does not bring users up to date that changed since the checkpoint."""
    from stream_processors.recovery import Recovery

    _replace(Recovery, "_load_changed_users", lambda _: lambda *_: None)


def answer_before_kafka(value: str) -> None:
    """The collector answers 200 for what it is going to send (`value`: seconds later, 0.5), not when Kafka has it."""
    from ingest.courier import Courier

    def make(send: Any) -> Any:
        def hasty(self: Any, chunk: Any) -> None:
            for ticket in chunk.tickets:
                ticket.resolve()
            asyncio.get_running_loop().call_later(float(value or 0.5), send, self, chunk)

        return hasty

    _replace(Courier, "_send", make)


def dropped_lines(_: str) -> None:
    """The last line of every twentieth chunk of several never reaches Kafka."""
    from ingest.gather import Chunk

    sealed = [0]

    def make(seal: Any) -> Any:
        def lossy(self: Any, *more: Any, **named: Any) -> bytes:
            sealed[0] += 1
            if sealed[0] % 20 == 0 and len(self.lines) > 1:
                self.lines.pop()
            value: bytes = seal(self, *more, **named)
            return value

        return lossy

    _replace(Chunk, "seal", make)


def ledger_counted_twice(_: str) -> None:
    """What the collector received is counted twice in every twentieth chunk."""
    from ingest.ledger import Received

    settled_chunks = [0]

    def make(settled: Any) -> Any:
        def twice(self: Any, sequence: int, counts: Any) -> Any:
            counts = list(counts)
            settled_chunks[0] += 1
            if settled_chunks[0] % 20 == 0:
                counts += counts
            return settled(self, sequence, counts)

        return twice

    _replace(Received, "settled", make)


def same_chunk_numbers(_: str) -> None:
    """Every life of a collector numbers its chunks alike."""
    from ingest import server

    _replace(server, "random_u32", lambda _: lambda: 7)


def slow_exit(value: str) -> None:
    """SIGTERM is heeded late (`value`: seconds, 20), and nothing ends the process before that."""
    from deploy import worker
    from stream_processors import faust_app

    def make(run: Any) -> Any:
        def lingering(*more: Any, **named: Any) -> None:
            try:
                run(*more, **named)
            finally:
                time.sleep(float(value or 20))

        return lingering

    _replace(faust_app, "STOP_SECONDS", lambda _: 3600.0)
    _replace(worker, "run_app", make)


def slow_for_one_user(value: str) -> None:
    """Chunks with much of one user take long (`value`: seconds, 1.0), and everything behind them waits."""
    from collections import Counter

    from schemas.wire import decode_events
    from stream_processors.worker import Worker

    def make(handle: Any) -> Any:
        def slow(self: Any, records: Sequence[Any]) -> Any:
            for one in records:
                users = Counter(event.user_id for event in decode_events(one.value))
                if max(users.values(), default=0) * 2 > sum(users.values()) > 4:
                    time.sleep(float(value or 1.0))
                    break
            return handle(self, records)

        return slow

    _replace(Worker, "handle_events", make)


INSTRUMENTS = (trace, die_after_insert, die_before_ledger, flaky_sink)
DEFECTS = (
    acknowledge_before_insert,
    take_for_noack_take,
    commit_on_failure,
    forgotten_ids,
    forgotten_windows,
    forgotten_users,
    answer_before_kafka,
    dropped_lines,
    ledger_counted_twice,
    same_chunk_numbers,
    slow_exit,
    slow_for_one_user,
)
PLANTS = {one.__name__: one for one in (*INSTRUMENTS, *DEFECTS, *defects_servers.INSTRUMENTS, *defects_servers.DEFECTS)}
