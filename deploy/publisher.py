"""Publishing from synchronous code: the gateway on an event loop of its own, and a plain emitter of internal records.

The system's own events (predictions, anomalies, acknowledged alerts) take the same path as anybody's: validated,
routed, in Kafka before the call returns.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from deploy.settings import Settings
from ingest.gateway import Gateway, Verdicts
from ingest.producer import KafkaProducer
from ingest.settings import GatewaySettings, ProducerSettings
from ingest.steps import Validator
from schemas.clock import Clock, random_u32
from schemas.errors import Permanent, Retryable
from schemas.keys import DEV_PACK, DEV_TENANT, KeyStore
from schemas.taxonomy import Pack, validator
from schemas.topics import EVENTS
from schemas.wire import CORRECTION_HEADER

KEY_ID: Final = "headrace"
"""The `key_id` that the system's own events carry."""

_AT_ONCE: Final = 100
"""Events judged in one piece, 8 KiB of objects each: what many need for a moment, a process keeps for good."""
_ASK_SECONDS: Final = 10.0


class Publisher:
    """Publishes events of any tenant. Thread-safe; `close` hands over what is queued."""

    def __init__(
        self,
        kafka: str,
        validators: Mapping[str, Validator],
        pack_of: Callable[[str], str],
        clock: Clock,
        partitions: int,
        limits: GatewaySettings | None = None,
    ) -> None:
        limits = limits or GatewaySettings()
        self.validators, self.pack_of, self.limits = validators, pack_of, limits
        self._producer = KafkaProducer(kafka, ProducerSettings(), limits.deadline_seconds)
        found = self._producer.partitions(EVENTS, _ASK_SECONDS)
        self._gateway = Gateway(validators, self._producer, clock, found or partitions, random_u32(), settings=limits)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="publisher", daemon=True)
        self._thread.start()

    def publish(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Block until Kafka has the events. Raises `Retryable`, or `Permanent` naming the first that was refused."""
        for start in range(0, len(events), _AT_ONCE):
            verdicts = self.submit(tenant, [dict(event) for event in events[start : start + _AT_ONCE]])
            if verdicts.rejected:
                first = verdicts.rejected[0]
                raise Permanent(
                    f"{len(verdicts.rejected)} of our own events were rejected; the first:"
                    f" {first['field']}: {first['message']} ({first['reason']})"
                )

    def submit(
        self,
        tenant: str,
        events: Sequence[object],
        *,
        backfill: bool = False,
        pack: str = "",
        key_id: str = KEY_ID,
        receipts: Sequence[float] | None = None,
    ) -> Verdicts:
        """The gateway's verdicts, waited for. `pack`: that of the tenant's keys where it is empty."""
        pack = pack or self.pack_of(tenant)
        call = self._gateway.submit(tenant, pack, key_id, events, backfill=backfill, receipts=receipts)
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def close(self) -> None:
        """Take nothing more and hand over what is queued."""
        asyncio.run_coroutine_threadsafe(self._gateway.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def make_publisher(settings: Settings, packs: Mapping[str, Pack], clock: Clock) -> Publisher:
    """A publisher that knows which pack a tenant speaks: the one that its keys name."""
    validators = {name: validator(pack) for name, pack in packs.items()}
    limits = settings.collector.gateway
    kafka, partitions = settings.kafka.bootstrap, settings.kafka.partitions
    return Publisher(kafka, validators, pack_finder(settings, clock), clock, partitions, limits)


def pack_finder(settings: Settings, clock: Clock) -> Callable[[str], str]:
    """A function that gives the pack of a tenant: the one that its keys name."""
    keys = KeyStore(settings.keys_path, clock, dev_keys=bool(settings.dev_keys))

    def pack_of(tenant: str) -> str:
        if settings.dev_keys and tenant == DEV_TENANT:
            return DEV_PACK
        for key in keys.all():
            if key.tenant == tenant:
                return key.pack
        return DEV_PACK

    return pack_of


class Emitter:
    """Produces internal records (window cells, corrections) and waits for Kafka. Thread-safe."""

    def __init__(self, kafka: str, deadline: float = 10.0) -> None:
        self._producer = KafkaProducer(kafka, ProducerSettings(), deadline)
        self._deadline = deadline
        self._lock = threading.Lock()

    def emit(self, topic: str, value: bytes) -> None:
        """Block until Kafka has the record's lines, cut into records under the size limit. Raises `Retryable`."""
        self._emit(topic, 0, value, [])

    def correct(self, partition: int, value: bytes) -> None:
        """Put corrections among the events of a partition; blocks and raises likewise."""
        self._emit(EVENTS, partition, value, [(CORRECTION_HEADER, b"1")])

    def partitions(self) -> int:
        """How many partitions events have. Raises `Retryable`."""
        found = self._producer.partitions(EVENTS, _ASK_SECONDS)
        if not found:
            raise Retryable(f"Kafka has no topic {EVENTS} yet")
        return found

    def _emit(self, topic: str, partition: int, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        problems: list[str] = []

        def delivered(problem: str) -> None:
            if problem:
                problems.append(problem)

        with self._lock:
            for part in _cut(value):
                self._producer.produce(topic, partition, part, headers, delivered)
            if self._producer.close(self._deadline) or problems:
                raise Retryable(f"Kafka did not take a record of {topic}: {problems[0] if problems else 'time is up'}")


def _cut(lines: bytes, most: int = 500_000) -> list[bytes]:
    """Newline-ended lines in parts of at most `most` bytes (a longer line stands alone)."""
    parts, start = [], 0
    while start < len(lines):
        end = len(lines)
        if end - start > most:
            end = lines.rfind(b"\n", start, start + most) + 1 or lines.find(b"\n", start) + 1 or len(lines)
        parts.append(lines[start:end])
        start = end
    return parts
