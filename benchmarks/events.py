"""Deterministic event lines and chunks for the benchmarks, like the collector's: about 750 bytes an event."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator

import orjson

from schemas.wire import ChunkCount, encode_counts, slot_of

TYPES = ("campaign_viewed", "campaign_clicked", "user_engaged", "user_purchased", "campaign_delivered")
SUBTYPES = {"campaign_viewed": "opened", "user_engaged": "app_open"}
TENANT = "bench"


def lines(count: int, seed: int, *, users: int = 50_000, spread: float = 3.0) -> Iterator[dict[str, object]]:
    """`count` event lines of the last `spread` seconds, without chunk numbers."""
    rng = random.Random(seed)
    campaigns = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(8)]
    creatives = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(24)]
    now = time.time()
    for _ in range(count):
        user = f"user-{rng.randrange(users)}"
        event_type = rng.choice(TYPES)
        campaign, creative = rng.choice(campaigns), rng.choice(creatives)
        yield {
            "tenant": TENANT,
            "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
            "event_type": event_type,
            "timestamp": round(now - rng.random() * spread, 3),
            "received_at": round(now, 3),
            "user_id": user,
            "session_id": f"session-{rng.randrange(10**9)}",
            "source": "mobile",
            "slot": slot_of(TENANT, user),
            "campaign_id": campaign,
            "creative_id": creative,
            "segment": "HIGH_SPENDER",
            "channel": "push",
            "subtype": SUBTYPES.get(event_type, ""),
            "amount_micros": 29_330_000 if event_type == "user_purchased" else 0,
            "pack": "marketing",
            "version": "1.0.0",
            "key_id": "bench",
            "properties": {
                "campaign_id": campaign,
                "creative_id": creative,
                "view_duration_seconds": rng.randrange(60),
                "view_type": "opened",
                "impression_position": rng.randrange(9),
            },
            "context": {
                "app_version": "3.2.1",
                "platform": "iOS",
                "user_segment": "HIGH_SPENDER",
                "region": "US-CA",
            },
        }


def chunks(
    events: Iterator[dict[str, object]], partitions: int, size: int, first: int = 1
) -> Iterator[tuple[int, bytes, dict[str, bytes]]]:
    """(partition, value, headers) of chunks of `size` events; users keep to their partition."""
    waiting: dict[int, list[dict[str, object]]] = {}
    number = first
    for event in events:
        partition = int(str(event["slot"])) % partitions
        some = waiting.setdefault(partition, [])
        some.append(event)
        if len(some) == size:
            yield partition, *_chunk(waiting.pop(partition), number)
            number += 1
    for partition, some in waiting.items():
        yield partition, *_chunk(some, number)
        number += 1


def _chunk(events: list[dict[str, object]], number: int) -> tuple[bytes, dict[str, bytes]]:
    minute = int(float(str(events[0]["received_at"]))) // 60 * 60
    counts = encode_counts([ChunkCount(TENANT, minute, "", len(events))])
    value = b"".join(orjson.dumps({**event, "chunk": number}) + b"\n" for event in events)
    return value, {"chunk": str(number).encode(), "counts": counts}
