"""How we set Faust up, where its own settings do not reach."""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from pathlib import Path
from typing import Any

import aiokafka
import mode
import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage

from schemas.clock import ManualClock
from stream_processors.faust_app import _add_agent, _build_app, _settle
from stream_processors.faust_consumer import FETCH_WAIT_MS, Consumer, ConsumerThread
from stream_processors.lease import Lease
from stream_processors.metrics import WorkerMetrics
from stream_processors.offsets import Offsets
from stream_processors.routes import Route
from stream_processors.settings import ProcessorSettings
from stream_processors.watchdog import Outage, Progress


async def test_a_broker_holds_no_fetch_open_for_longer_than_we_want(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust fixes 1.5 s; with it, half of all events waited for 0.6 s."""
    fixed = aiokafka.AIOKafkaConsumer(bootstrap_servers="127.0.0.1:9", fetch_max_wait_ms=1500)

    def created(_: Any, __: Any) -> Any:
        return fixed

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_create_worker_consumer", created)
    try:
        ours = ConsumerThread._create_worker_consumer(object.__new__(ConsumerThread), None)
        assert ours is fixed
        assert ours._fetch_max_wait_ms == FETCH_WAIT_MS < 500
    finally:
        await fixed.stop()
    assert "fetch_max_wait_ms=self._fetch_max_wait_ms" in inspect.getsource(aiokafka.AIOKafkaConsumer.start)


def test_nothing_is_left_in_the_folder_that_it_is_started_in() -> None:
    app = _build_app("events", ProcessorSettings(kafka="127.0.0.1:9092"), Lease(ManualClock(), 30))
    assert Path(tempfile.gettempdir()) in app.conf.datadir.parents


def test_the_app_uses_our_consumer() -> None:
    app = _build_app("events", ProcessorSettings(kafka="127.0.0.1:9092"), Lease(ManualClock(), 30))
    assert app.transport.Consumer is Consumer
    assert "fetch_max_wait_ms=1500" in inspect.getsource(driver), "Faust has changed: is a way round it still needed?"


PLACES = [driver.TP("headrace.events", 0), driver.TP("headrace.events", 1)]


class _Fetched(Consumer):
    """Our consumer over a Kafka that hands out `batches`, one a call, and remembers where it was sent back to."""

    def __init__(self, committed: dict[Any, int | None], batches: list[list[tuple[Any, int]]] | None = None) -> None:
        app = _build_app("events", ProcessorSettings(kafka="127.0.0.1:9092"), Lease(ManualClock(), 30))
        super().__init__(
            app.transport, callback=_nothing, on_partitions_revoked=_nothing, on_partitions_assigned=_nothing
        )
        self.committed, self.batches, self.sought = committed, batches or [], list[dict[Any, int]]()
        self.flow_active = True
        self.acknowledged: dict[Any, int] = {}

    def _new_consumer_thread(self) -> Any:
        return mode.Service()

    async def seek_to_committed(self) -> dict[Any, int | None]:
        return self.committed

    async def earliest_offsets(self, *partitions: Any) -> dict[Any, int]:
        return dict.fromkeys(partitions, 3)

    async def seek_wait(self, partitions: dict[Any, int]) -> None:
        self.sought.append(dict(partitions))

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's own
        found: dict[Any, list[Any]] = {}
        for tp, offset in self.batches.pop(0):
            found.setdefault(tp, []).append(_message(tp, offset))
        return found, set(PLACES)

    def _to_message(self, tp: Any, record: Any) -> Any:
        return record

    def highwater(self, tp: Any) -> int:
        return 100

    async def _commit_offsets(self, offsets: Any, start_new_transaction: bool = True) -> bool:
        self.acknowledged.update(offsets)
        return True

    async def offsets(self) -> list[int]:
        return [message.offset async for _, message in self.getmany(1.0)]


async def _nothing(*_: Any) -> None:
    pass


def _message(tp: Any, offset: int) -> Any:
    return ConsumerMessage(
        tp.topic, tp.partition, offset, 0.0, 0, {}, b"", b"one", None, None, None, tp, generation_id=0
    )


async def test_where_nothing_was_acknowledged_it_reads_from_the_beginning() -> None:
    """Faust stays where an earlier assignment stood. What that one had fetched, and nobody handled, was lost."""
    consumer = _Fetched({PLACES[0]: None, PLACES[1]: 7}, [[(PLACES[0], 3), (PLACES[1], 7)]])
    await consumer.perform_seek()
    assert consumer.sought == [{PLACES[0]: 3}]
    assert await consumer.offsets() == [3, 7]
    consumer.transport.offsets.done(PLACES[0], 3)
    consumer.transport.offsets.done(PLACES[1], 7)
    assert consumer._filter_committable_offsets(consumer._filter_tps_with_pending_acks()) == dict(
        zip(PLACES, (4, 8), strict=True)
    )


async def test_what_faust_skips_is_not_acknowledged() -> None:
    """Its stream acknowledges messages of an old generation, and its consumer commits that."""
    consumer = _Fetched({PLACES[0]: 7}, [[(PLACES[0], 7), (PLACES[0], 8)]])
    await consumer.perform_seek()
    messages = [message async for _, message in consumer.getmany(1.0)]
    for message in messages:
        assert consumer.ack(message)
    assert not consumer._filter_committable_offsets(consumer._filter_tps_with_pending_acks())
    assert all(message.acked for message in messages), "they count as memory no more"
    consumer.transport.offsets.done(PLACES[0], 7)
    assert consumer._filter_committable_offsets(PLACES[:1]) == {PLACES[0]: 8}


async def test_a_gap_in_what_came_is_fetched_and_not_taken_for_done() -> None:
    consumer = _Fetched(
        {PLACES[0]: 7, PLACES[1]: 4}, [[(PLACES[0], 7), (PLACES[1], 6), (PLACES[1], 7), (PLACES[0], 8)]]
    )
    await consumer.perform_seek()
    assert await consumer.offsets() == [7, 8]
    assert consumer.sought == [{PLACES[1]: 4}]
    for tp in PLACES:
        for offset in range(10):
            consumer.transport.offsets.done(tp, offset)
    assert consumer._filter_committable_offsets(PLACES) == {PLACES[0]: 9}


async def test_what_becomes_done_after_a_partition_went_is_not_acknowledged() -> None:
    consumer = _Fetched({PLACES[0]: 7}, [[(PLACES[0], 7)]])
    await consumer.perform_seek()
    assert await consumer.offsets() == [7]
    consumer.transport.offsets.forget(PLACES)
    consumer.transport.offsets.done(PLACES[0], 7)
    assert not consumer._filter_committable_offsets(PLACES)


async def test_before_partitions_go_what_is_worked_on_is_acknowledged() -> None:
    """Faust would have the next owner do it again: a third of all chunks, when workers came and went."""
    consumer = _Fetched({PLACES[0]: 7}, [[(PLACES[0], 7), (PLACES[0], 8)]])
    await consumer.perform_seek()
    assert await consumer.offsets() == [7, 8]

    async def settle() -> None:
        consumer.transport.offsets.done(PLACES[0], 7)

    consumer.transport.settle = settle
    await consumer.on_partitions_revoked({PLACES[0]})
    assert consumer.acknowledged == {PLACES[0]: 8}
    consumer.transport.offsets.done(PLACES[0], 8)
    assert not consumer._filter_committable_offsets(PLACES)


async def test_a_commit_that_hangs_does_not_keep_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group would wait for us; what was not acknowledged comes again."""
    consumer, told = _Fetched({PLACES[0]: 7}, [[(PLACES[0], 7)]]), list[Any]()
    await consumer.perform_seek()
    assert await consumer.offsets() == [7]
    consumer.transport.settle = _nothing

    async def hang(*_: Any, **__: Any) -> bool:
        await asyncio.Event().wait()
        return False

    async def tell(revoked: Any) -> None:
        told.append(revoked)

    monkeypatch.setattr("stream_processors.faust_consumer.COMMIT_SECONDS", 0.05)
    consumer.commit, consumer._on_partitions_revoked = hang, tell
    await asyncio.wait_for(consumer.on_partitions_revoked({PLACES[0]}), 10)
    assert told == [{PLACES[0]}]
    assert not consumer.transport.offsets.is_due(PLACES[0], 7)


class _Stream:
    """Hands out records as Faust's stream does, and takes what is acknowledged."""

    def __init__(self, taken: list[list[Any]]) -> None:
        self._taken, self.acknowledged = taken, list[int]()

    async def noack_take(self, _: int, within: float) -> Any:
        assert within
        for events in self._taken:
            yield events
            await asyncio.sleep(0.1)

    async def ack(self, event: Any) -> None:
        self.acknowledged.append(event.message.offset)


class _Event:
    def __init__(self, tp: Any, offset: int) -> None:
        self.message, self.value = _message(tp, offset), b"one"


async def test_only_what_was_read_since_reading_began_is_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not Faust has told of the assignment by then; and nothing once the partitions are about to go."""
    app = _build_app("events", ProcessorSettings(kafka="127.0.0.1:9092"), Lease(ManualClock(), 30))
    offsets, handled, consume = app.transport.offsets, list[tuple[int, int]](), list[Any]()

    def handle(records: Any) -> Any:
        handled.extend((record.partition, record.offset) for record in records)
        return lambda: None

    monkeypatch.setattr(app, "agent", lambda *_, **__: consume.append)
    route = Route(PLACES[0].topic, handle, lambda _: None, 10, 0.1)
    _add_agent(app, route, Progress(), ManualClock(), WorkerMetrics("test"))
    offsets.begin(PLACES[0], 7)
    assert offsets.read(PLACES[0], 7) is None
    old, new, foreign, held = (
        _Event(tp, at) for tp, at in ((PLACES[0], 6), (PLACES[0], 7), (PLACES[1], 3), (PLACES[0], 8))
    )
    stream = _Stream([[old, new, foreign], [held], []])

    async def hold() -> None:
        await asyncio.sleep(0.05)
        assert offsets.read(PLACES[0], 8) is None
        offsets.hold()

    await asyncio.gather(consume[0](stream), hold())
    assert handled == [(0, 7)]
    assert stream.acknowledged == [7]
    assert offsets.acknowledged(PLACES[0]) == 8


async def test_partitions_wait_for_what_is_worked_on_but_not_for_a_server_that_is_away() -> None:
    clock, progress = ManualClock(), Progress()
    outage = Outage(clock)
    progress.began, offsets = {("headrace.events", 1): clock.monotonic()}, Offsets()
    offsets.begin(PLACES[0], 7)
    offsets.read(PLACES[0], 7)
    assert offsets.is_due(PLACES[0], 7)
    waiting = asyncio.create_task(_settle(progress, offsets, outage, clock))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert not offsets.is_due(PLACES[0], 7), "nothing more is worked on"
    outage.note()
    await asyncio.wait_for(waiting, 5)
    progress.began.clear()
    await asyncio.wait_for(_settle(progress, offsets, Outage(clock), clock), 5)
