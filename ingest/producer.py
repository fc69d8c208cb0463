"""The way into Kafka: one idempotent producer that waits for all replicas.

Writes: records with explicit partitions. Guarantee: a record whose callback came without an error is stored once, in
the order of producing. On failure the callback carries the error; after a timeout the record may still be stored.
The callbacks run inside `poll`, on the thread that calls it (the gateway's event loop), so nothing needs a lock.
A producer that has delivered nothing but errors for a while is replaced: against a broker that forgot its producers
(a new cluster under the old address) librdkafka's idempotence never recovers by itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ingest.refusals import Overloaded
from ingest.settings import ProducerSettings
from schemas.clock import Clock, SystemClock
from schemas.errors import Retryable

Delivered = Callable[[str], None]
"""Called once for each record: "" when it is stored, else what went wrong."""

_MAX_RECORD: Final = 1_000_000
_RENEW_SECONDS: Final = 5.0
_log = logging.getLogger(__name__)


class ChunkProducer(Protocol):
    """What the gateway needs of Kafka."""

    def produce(
        self, topic: str, partition: int, value: bytes, headers: list[tuple[str, bytes]], delivered: Delivered
    ) -> None:
        """Queue a record; raises Overloaded when the queue is full, Retryable when the record is refused."""
        ...

    def poll(self) -> None:
        """Run the callbacks that are due, without waiting."""
        ...

    def partitions(self, topic: str, timeout: float) -> int:
        """Partitions of a topic, 0 when it is missing; blocks up to `timeout` seconds; Retryable when Kafka is away."""
        ...

    def close(self, timeout: float) -> int:
        """Hand over what is queued, at most `timeout` seconds (blocks); how many records were left behind."""
        ...


class RecallingProducer(ChunkProducer, Protocol):
    """A producer that what it holds can be taken back from, to be sent another way."""

    def abandon(self) -> None:
        """Give up all that is queued or on its way: the callbacks come now, with an error."""
        ...


class KafkaProducer:
    """`RecallingProducer` over librdkafka. `deadline`: seconds after which an unsent record is given up; 0: never."""

    def __init__(
        self, servers: str, settings: ProducerSettings, deadline: float, *, clock: Clock | None = None
    ) -> None:
        self._clock = clock or SystemClock()
        self._failing_since: float | None = None
        self._config: dict[str, Any] = {
            "bootstrap.servers": servers,
            "client.id": "headrace-collector",
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": settings.compression,
            "linger.ms": settings.linger_ms,
            "message.timeout.ms": int(deadline * 1000),
            "message.max.bytes": _MAX_RECORD,
            # A topic that the broker makes by itself would have the wrong number of partitions.
            "allow.auto.create.topics": False,
            "queue.buffering.max.messages": settings.queue_messages,
            "queue.buffering.max.kbytes": settings.queue_kib,
            "socket.keepalive.enable": True,
            "reconnect.backoff.max.ms": 1000,
            "logger": logging.getLogger("headrace.kafka"),
        }
        self._producer = Producer(self._config)

    def produce(
        self, topic: str, partition: int, value: bytes, headers: list[tuple[str, bytes]], delivered: Delivered
    ) -> None:
        def report(error: KafkaError | None, _: Message) -> None:
            self._note(error is None)
            delivered("" if error is None else str(error.str()))

        if self._failing_since is not None and self._clock.monotonic() - self._failing_since > _RENEW_SECONDS:
            self._renew("it delivers nothing")
        try:
            self._producer.produce(topic, value, partition=partition, headers=headers, on_delivery=report)
        except BufferError as error:
            raise Overloaded("Kafka is not taking events fast enough; the producer's queue is full") from error
        except KafkaException as error:
            self._renew_after(error)
            raise Retryable(f"Kafka refused a chunk: {error}") from error

    def poll(self) -> None:
        self._producer.poll(0)

    def abandon(self) -> None:
        self._renew("what it holds is sent another way")

    def partitions(self, topic: str, timeout: float) -> int:
        try:
            found = self._producer.list_topics(timeout=timeout).topics.get(topic)
        except KafkaException as error:
            raise Retryable(f"Kafka is not reachable: {error}") from error
        return 0 if found is None or found.error is not None else len(found.partitions)

    def close(self, timeout: float) -> int:
        return int(self._producer.flush(timeout))

    def _note(self, stored: bool) -> None:
        if stored:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = self._clock.monotonic()

    def _renew_after(self, error: KafkaException) -> None:
        """A fatal error ends a librdkafka producer for good; go on with a new one."""
        if error.args[0].fatal() or error.args[0].code() == KafkaError._FATAL:
            self._renew(str(error))

    def _renew(self, why: str) -> None:
        """Replace the producer. What it still held fails now; clients resend, and ids deduplicate."""
        _log.error("the Kafka producer is replaced: %s", why)
        old, self._producer = self._producer, Producer(self._config)
        old.purge()
        old.flush(0.1)
        self._failing_since = None
        # The thread holds the last reference: taking a producer down can block.
        threading.Thread(target=old.poll, args=(0,), daemon=True).start()
