"""Faust's Kafka consumer by our rules: fetching is bounded, and acknowledged is what was said to be done.

Beside `faust_app` the only module that knows Faust. What is changed, and why:

- Offsets are ours (`stream_processors.offsets`). Faust's stream acknowledges what it skips in a rebalance, its consumer
  takes gaps for done and drops records below an offset that may be of an earlier assignment.
- Before partitions go, what is worked on is stored and acknowledged; Faust would have it done again.
- Where nothing was acknowledged yet, Faust goes on at the position where an earlier assignment stood; we begin anew.
- No more is fetched than memory is set aside for (`stream_processors.intake`), and no fetch stays open for long.
- Every heartbeat that is answered renews the lease (`stream_processors.lease`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any
from weakref import WeakSet

from aiokafka.errors import IllegalStateError, KafkaError
from faust.transport.drivers import aiokafka as driver

from stream_processors.intake import Intake
from stream_processors.lease import Lease
from stream_processors.offsets import Offsets
from stream_processors.watchdog import Place

log = logging.getLogger("headrace.worker")

FETCH_WAIT_MS = 250
"""How long a broker may hold a fetch open. Faust fixes 1,500 ms; some brokers look for records only half way
through and at the end, and events would wait for that."""

FULL_SECONDS = 0.02
"""How long to wait for records to be acknowledged before it is looked again whether more may be fetched."""


SETTLE_SECONDS = 15.0
"""How long partitions that are taken away are kept for what is worked on; after it the next owner works on it again."""

COMMIT_SECONDS = 5.0
"""How long Kafka may take then to note what is done."""


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Runs the aiokafka consumer."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # Faust has no setting for it; read when the consumer starts
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        _renew_with_heartbeats(self._consumer._coordinator, self.transport.lease)

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's own
        intake = self.transport.intake
        self._ensure_consumer()._max_poll_records = intake.records
        found = await super().getmany(active_partitions, timeout)
        intake.fetched([len(record.value or b"") for records in found.values() for record in records])
        return found


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Runs in the loop of the agents; calls the thread for what concerns Kafka."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._offsets: Offsets = self.transport.offsets
        self._read_offset = _Nothing()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:  # noqa: ASYNC109 - Faust's own
        fetched = self.transport.fetched
        if self.transport.intake.is_full(len(message.value or b"") for message in fetched if not message.acked):
            await asyncio.sleep(FULL_SECONDS)
            return
        passed_over: dict[Any, int] = {}
        async for tp, message in super().getmany(timeout):
            if tp in passed_over:
                continue
            back = self._offsets.read(tp, message.offset)
            if back is None:
                fetched.add(message)
                yield tp, message
            else:
                log.warning("%s/%d: %d came where %d was due; going back", *tp, message.offset, back)
                passed_over[tp] = back
        if passed_over:
            await self._go_back(passed_over)

    async def perform_seek(self) -> None:
        """Read from where everything before is acknowledged; where nothing is, from the beginning."""
        offsets = await self.seek_to_committed()
        unread = [tp for tp, offset in offsets.items() if not offset]
        begin = await self.earliest_offsets(*unread) if unread else {}
        if begin:
            await self.seek_wait(begin)
        for tp, offset in offsets.items():
            self._committed_offset[_place(tp)] = offset or None
            self._offsets.begin(_place(tp), offset or begin[tp])

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Acknowledge what is worked on, so that the next owner does not get it again; after that nothing more."""
        await self.transport.settle()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.commit(), COMMIT_SECONDS)
        self._offsets.forget(revoked)
        await super().on_partitions_revoked(revoked)

    def ack(self, message: Any) -> bool:
        """Faust has done with a message, stored or skipped: it takes no memory any more, and counts for nothing."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    def _new_offset(self, tp: Any) -> int | None:
        return self._offsets.acknowledged(tp)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[Any]:
        places = map(_place, self._offsets.places())
        return [tp for tp in places if topics is None or tp in topics or tp.topic in topics]

    async def _go_back(self, offsets: dict[Any, int]) -> None:
        try:
            await self.seek_wait(offsets)
        except (IllegalStateError, KafkaError, TimeoutError) as error:
            # Taken away meanwhile, most likely. If not, nothing more is acknowledged, and the watchdog sees it.
            log.warning("could not go back: %s", error)
            self._offsets.forget(offsets)


class Transport(driver.Transport):  # type: ignore[misc]
    """What consumer and thread share."""

    Consumer = Consumer
    lease: Lease
    settle: Callable[[], Awaitable[None]]
    """Hand out nothing more, and wait for what is worked on (`SETTLE_SECONDS` at most)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.intake = Intake()
        self.offsets = Offsets()
        self.fetched: WeakSet[Any] = WeakSet()
        """Messages that came from Kafka; those that are alive and not acknowledged are in some buffer, or worked on."""


class _Nothing(dict[Any, Any]):
    """Faust's memory of what it has read: none, so that it drops nothing, and sees no gaps."""

    def __getitem__(self, key: Any) -> None:
        return None


def _place(tp: Place) -> Any:
    """As Faust wants it."""
    return driver.TP(*tp)


def _renew_with_heartbeats(coordinator: Any, lease: Lease) -> None:
    beat = coordinator._do_heartbeat

    async def beat_and_renew() -> bool:
        sent = lease.now()
        answered = bool(await beat())
        if answered:
            lease.renew(sent)
        return answered

    coordinator._do_heartbeat = beat_and_renew
