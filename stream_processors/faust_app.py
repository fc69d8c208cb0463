"""Faust, and only here: topics in, handlers called, offsets acknowledged after the handler's rows are durable.

Reads: the topics of its routes. Guarantee: at least once to the handler; the handler makes it effectively once. The
rules that make it so (each was seen to lose data otherwise): `noack_take` with a manual acknowledgement after the
durable write, one stream at a time (`concurrency=1`), raw bytes (a JSON serializer skips what it cannot read), no
tables, no web server, and no exception ever leaves an agent: an unexpected one ends the process before the offset
moves, and the supervisor starts it again.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import faust
import mode

from schemas.clock import Clock
from schemas.flood import Flood
from stream_processors.faust_consumer import SETTLE_SECONDS, Transport
from stream_processors.intake import cut
from stream_processors.lease import Lease
from stream_processors.metrics import WorkerMetrics
from stream_processors.offsets import Offsets
from stream_processors.ports import Record
from stream_processors.routes import Background, Route, Store
from stream_processors.settings import ProcessorSettings
from stream_processors.watchdog import Guard, Outage, Progress, Watchdog, place_of, watch

log = logging.getLogger("headrace.worker")

STORES_AT_ONCE = 2
"""Batches of a topic that are written at the same time, while the next one is worked on: the warehouse never waits."""

STOP_SECONDS = 12.0
"""How long a process may take to leave. A thread that waits for the warehouse would hold it up for ever; what is not
acknowledged comes again."""

RARELY = (50_000, 20, 100)
"""Thresholds of the garbage collector: a worker holds millions of small objects in no cycles, and looking for some took
half its time. A process with few objects would keep what is garbage for an hour."""

EXIT_UNEXPECTED = 70
EXIT_FLOOD = 72


def run_app(
    name: str,
    settings: ProcessorSettings,
    routes: Sequence[Route],
    background: Sequence[Background],
    clock: Clock,
    metrics: WorkerMetrics,
    *,
    stopping: threading.Event | None = None,
    guard: Guard | None = None,
    leave: Callable[[], None] = lambda: None,
    many_objects: bool = True,
) -> None:
    """Run until SIGTERM or SIGINT, then leave; `name` is the consumer group's suffix.

    `stopping` is set as soon as the signal came, for work that takes long. `guard`: what the watchdog goes by. `leave`
    is called when nothing more is taken, while the partitions are ours still: the next owner comes after it.
    `many_objects`: whether so many are held that looking for cycles among them costs more than it gives back.
    """
    guard = guard or Guard(Outage(clock), Lease(clock, settings.session_timeout))
    app = _build_app(name, settings, guard.lease)
    app.task()(_tell_stop(app, stopping or threading.Event(), clock))
    progress = Progress()
    for route in routes:
        _add_agent(app, route, progress, clock, metrics)
    for work in background:
        _add_background(app, work)

    _call_before_leaving(app, leave)
    app.transport.settle = partial(_settle, progress, app.transport.offsets, guard.outage, clock)
    _follow_assignment(app, routes, progress, guard.lease)
    watch(Watchdog(progress, guard, clock, settings.stall_seconds), clock, _end_process)
    gc.freeze()
    if many_objects:
        gc.set_threshold(*RARELY)
    worker = faust.Worker(app, loglevel="WARNING", quiet=True)
    # A thread for everything that may block at once: with asyncio's few, a round of minutes holds up the batches.
    threads = len(routes) * (1 + STORES_AT_ONCE) + len(background) + 2
    worker.loop.set_default_executor(ThreadPoolExecutor(threads, thread_name_prefix="blocking"))
    worker.execute_from_commandline()


def _tell_stop(app: faust.App, stopping: threading.Event, clock: Clock) -> Callable[[], Awaitable[None]]:
    def end_late() -> None:
        clock.sleep(STOP_SECONDS)
        _end_process(f"still waiting {STOP_SECONDS:.0f} s after the signal to stop", 0)

    async def tell_stop() -> None:
        try:
            while not app.should_stop:
                await app.sleep(3600)
        finally:
            stopping.set()
            threading.Thread(target=end_late, name="stop", daemon=True).start()

    return tell_stop


def _call_before_leaving(app: faust.App, leave: Callable[[], None]) -> None:
    async def call(_: faust.App, **__: Any) -> None:
        try:
            await asyncio.to_thread(leave)
        except Exception:
            log.exception("what was to be done before leaving failed; the next owner does it")

    app.on_before_shutdown.connect(call, weak=False)


async def _settle(progress: Progress, offsets: Offsets, outage: Outage, clock: Clock) -> None:
    """What waits for a server that is away would wait in vain."""
    offsets.hold()
    began = clock.monotonic()
    while progress.began and outage.last < began and clock.monotonic() - began < SETTLE_SECONDS:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def _follow_assignment(app: faust.App, routes: Sequence[Route], progress: Progress, lease: Lease) -> None:
    tasks: set[asyncio.Task[None]] = set()
    joining = [lease.now()]

    async def assign(partitions: Iterable[Any]) -> None:
        progress.assigning += 1
        try:
            for route in routes:
                await asyncio.to_thread(route.assign, _of(route, partitions))
        except asyncio.CancelledError:
            raise
        except BaseException:
            _end_process("unexpected error on assignment", EXIT_UNEXPECTED)
        finally:
            progress.assigning -= 1

    async def revoked(_: faust.App, revoked: Iterable[Any], **__: Any) -> None:
        progress.owned = frozenset()
        app.transport.fetched.clear()
        await assign(())
        joining[0] = lease.now()

    async def assigned(_: faust.App, assigned: Iterable[Any], **__: Any) -> None:
        lease.renew(joining[0])
        partitions = tuple(assigned)
        progress.owned = frozenset((tp.topic, tp.partition) for tp in partitions)
        task = asyncio.create_task(assign(partitions))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    app.on_partitions_revoked.connect(revoked, weak=False)
    app.on_partitions_assigned.connect(assigned, weak=False)


def _of(route: Route, partitions: Iterable[Any]) -> list[int]:
    return sorted(tp.partition for tp in partitions if tp.topic == route.topic)


def _build_app(name: str, settings: ProcessorSettings, lease: Lease) -> faust.App:
    app = faust.App(
        id=f"{settings.group}-{name}",
        broker=";".join(f"kafka://{server.strip()}" for server in settings.kafka.split(",")),
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        datadir=Path(tempfile.gettempdir()) / f"{settings.group}-{name}-data",  # made, though nothing is kept there
        agent_supervisor=mode.CrashingSupervisor,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=2 * 1024 * 1024,
        # Kafka that has just started may deal out partitions before it knows every topic; Faust then goes without the
        # topic until it asks again, which by its own default is after 5 minutes.
        consumer_metadata_max_age_ms=5000,
        broker_session_timeout=settings.session_timeout,
        broker_heartbeat_interval=settings.session_timeout / 5,
        broker_request_timeout=max(90.0, settings.session_timeout * 3),
        broker_commit_interval=0.5,
        # While the warehouse is away nothing is fetched, and leaving the group for that would help nobody.
        broker_max_poll_interval=7 * 86400.0,
        stream_buffer_maxsize=2 * settings.take_chunks,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
        loghandlers=[],
    )
    app.transport = Transport(app.conf.broker_consumer, app)
    app.transport.lease = lease
    return app


def _add_agent(app: faust.App, route: Route, progress: Progress, clock: Clock, metrics: WorkerMetrics) -> None:
    topic = app.topic(route.topic, key_serializer="raw", value_serializer="raw")
    offsets: Offsets = app.transport.offsets

    async def acknowledge(stream: Any, events: Sequence[Any], batch: int) -> None:
        for event in events:
            await stream.ack(event)
            offsets.done(place_of(event.message), event.message.offset)
        progress.began.pop((route.topic, batch), None)
        metrics.acknowledged(route.topic, len(events))

    async def consume(stream: Any) -> None:
        storing: deque[asyncio.Task[None]] = deque()
        batch = 0
        async for taken in stream.noack_take(route.take, within=route.within):
            for piece in cut([(event, len(event.value or b"")) for event in taken]):
                events = [one for one in piece if offsets.is_due(place_of(one.message), one.message.offset)]
                if not events:
                    continue
                try:
                    batch += 1
                    began = progress.began[route.topic, batch] = clock.monotonic()
                    records = [_record(event) for event in events]
                    store = await asyncio.to_thread(route.handle, records)
                    metrics.handled(route.topic, len(records), clock.monotonic() - began)
                    if len(storing) == STORES_AT_ONCE:
                        await storing.popleft()
                    storing.append(
                        asyncio.create_task(_store(store, partial(acknowledge, stream, events, batch), route.topic))
                    )
                except asyncio.CancelledError:
                    raise
                except BaseException as error:
                    _end_process(f"{route.topic}: unexpected error while handling", _status(error))

    app.agent(topic, name=f"{app.conf.id}.{route.topic}", concurrency=1)(consume)


async def _store(store: Store, acknowledge: Callable[[], Awaitable[None]], topic: str) -> None:
    try:
        await asyncio.to_thread(store)
        await acknowledge()
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        _end_process(f"{topic}: unexpected error while storing", _status(error))


def _record(event: Any) -> Record:
    message = event.message
    headers = message.headers or {}
    value = event.value
    return Record(
        message.partition,
        message.offset,
        value if isinstance(value, bytes) else bytes(value or b""),
        dict(headers),
        max(0.0, message.timestamp or 0.0),
    )


def _add_background(app: faust.App, work: Background) -> None:
    async def loop() -> None:
        while not app.should_stop:
            try:
                await asyncio.to_thread(work.run)
            except asyncio.CancelledError:
                raise
            except BaseException:
                _end_process(f"{work.name}: unexpected error", EXIT_UNEXPECTED)
            await app.sleep(work.seconds)

    loop.__name__ = work.name
    app.task()(loop)


def _status(error: BaseException) -> int:
    return EXIT_FLOOD if isinstance(error, Flood) else EXIT_UNEXPECTED


def _end_process(why: str, status: int) -> None:
    """Leave at once, so that nothing is acknowledged that was not stored."""
    log.critical("%s; ending the process, nothing was acknowledged", why, exc_info=sys.exc_info()[0] is not None)
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(status)
