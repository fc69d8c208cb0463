"""Kafka topics: names, what a record holds, how it is partitioned."""

from __future__ import annotations

from dataclasses import dataclass

EVENTS = "headrace.events"
"""Chunks of accepted events (`schemas.wire`). Partition: slot of (tenant, user) modulo the partition count."""

REJECTED = "headrace.rejected"
"""Chunks of rejected events with their original bytes and reason. Partition: any."""

LEDGER = "headrace.ledger"
"""The collector's own absolute counts of what it received, with their watermark; one `LedgerLine` a line."""

ROLLUPS = "headrace.rollups"
"""Changed window cells, absolute values, one `WindowCell` a line. Key and partition: the tenant."""


@dataclass(frozen=True)
class Topic:
    """A topic as it is created: `partitions` is what a fresh cluster gets."""

    name: str
    partitions: int


def topics(partitions: int) -> tuple[Topic, ...]:
    """All topics, with `partitions` for the event path."""
    return (Topic(EVENTS, partitions), Topic(REJECTED, partitions), Topic(LEDGER, 1), Topic(ROLLUPS, 1))
