"""The way into Kafka: one idempotent producer that waits for all replicas.

Writes: records with explicit partitions. Guarantee: a record whose callback came without an error is stored once, in
the order of producing. On failure the callback carries the error; after a timeout the record may still be stored.
The callbacks run inside `poll`, on the thread that calls it (the gateway's event loop), so nothing needs a lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ingest.settings import ProducerSettings
from schemas.errors import Retryable

Delivered = Callable[[str], None]
"""Called once for each record: "" when it is stored, else what went wrong."""

_MAX_RECORD: Final = 1_000_000
_log = logging.getLogger(__name__)


class ChunkProducer(Protocol):
    """What the gateway needs of Kafka."""

    def produce(
        self, topic: str, partition: int, value: bytes, headers: list[tuple[str, bytes]], delivered: Delivered
    ) -> None:
        """Queue a record; raises Retryable when the queue is full."""
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


class KafkaProducer:
    """`ChunkProducer` over librdkafka. `deadline`: seconds after which an unsent record is given up."""

    def __init__(self, servers: str, settings: ProducerSettings, deadline: float) -> None:
        self._config: dict[str, Any] = {
            "bootstrap.servers": servers,
            "client.id": "headrace-collector",
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": settings.compression,
            "linger.ms": settings.linger_ms,
            "message.timeout.ms": int(deadline * 1000),
            "message.max.bytes": _MAX_RECORD,
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
            delivered("" if error is None else str(error.str()))

        try:
            self._producer.produce(topic, value, partition=partition, headers=headers, on_delivery=report)
        except BufferError as error:
            raise Retryable("Kafka is not taking events fast enough; the producer's queue is full") from error
        except KafkaException as error:
            self._renew_after(error)
            raise Retryable(f"Kafka refused a chunk: {error}") from error

    def poll(self) -> None:
        self._producer.poll(0)

    def partitions(self, topic: str, timeout: float) -> int:
        try:
            found = self._producer.list_topics(topic, timeout=timeout).topics.get(topic)
        except KafkaException as error:
            raise Retryable(f"Kafka is not reachable: {error}") from error
        return 0 if found is None or found.error is not None else len(found.partitions)

    def close(self, timeout: float) -> int:
        return int(self._producer.flush(timeout))

    def _renew_after(self, error: KafkaException) -> None:
        """A fatal error ends a librdkafka producer for good; go on with a new one (clients resend, ids deduplicate)."""
        if not error.args[0].fatal() and error.args[0].code() != KafkaError._FATAL:
            return
        _log.error("the Kafka producer failed for good and is replaced: %s", error)
        self._producer.purge()
        self._producer.flush(1)
        self._producer = Producer(self._config)
