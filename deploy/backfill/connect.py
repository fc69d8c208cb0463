"""A gateway to Kafka for processes that are no collector: backfill and the demo."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deploy.settings import Settings
from ingest.gateway import Gateway
from ingest.producer import ChunkProducer, Delivered, KafkaProducer
from schemas.clock import Clock, random_u32
from schemas.errors import ConfigError
from schemas.taxonomy import shipped_packs, validator
from schemas.topics import EVENTS

DEADLINE_SECONDS = 20.0
"""Longer than a collector's: nobody waits for an answer, and sending a batch twice costs more than waiting."""


class Nowhere:
    """A producer that keeps nothing: behind it events are validated and counted, and that is all."""

    def produce(
        self, topic: str, partition: int, value: bytes, headers: list[tuple[str, bytes]], delivered: Delivered
    ) -> None:
        delivered("")

    def poll(self) -> None:
        return

    def partitions(self, topic: str, timeout: float) -> int:
        return 1

    def close(self, timeout: float) -> int:
        return 0


@asynccontextmanager
async def gateway(settings: Settings, clock: Clock, *, dry: bool = False) -> AsyncIterator[Gateway]:
    """A gateway to the Kafka of `settings`, or with `dry` to nowhere; drained when left.

    Raises Retryable when Kafka does not answer, ConfigError when it has no topics yet.
    """
    servers = settings.kafka.bootstrap
    producer: ChunkProducer = (
        Nowhere() if dry else KafkaProducer(servers, settings.collector.producer, DEADLINE_SECONDS)
    )
    partitions = await asyncio.to_thread(producer.partitions, EVENTS, 10.0)
    if partitions == 0:
        raise ConfigError(f"Kafka at {servers} has no topic {EVENTS}; start `headrace up` or `headrace collect` first")
    limits = settings.collector.gateway.model_copy(
        update={"deadline_seconds": DEADLINE_SECONDS, "away_seconds": DEADLINE_SECONDS, "partitions": partitions}
    )
    packs = {name: validator(pack) for name, pack in shipped_packs().items()}
    opened = Gateway(packs, producer, clock, partitions, random_u32(), settings=limits)
    try:
        yield opened
    finally:
        await opened.close()
