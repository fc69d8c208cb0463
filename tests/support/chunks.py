"""Making chunks as the collector makes them, for tests of the processors."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from schemas.wire import ChunkCount, encode_counts, slot_of
from stream_processors.ports import Record

NOW = 1_763_712_000.0
PARTITIONS = 4
ROLES = {
    "marketing": {
        "activity": [("campaign_viewed", None), ("user_engaged", None), ("user_purchased", None)],
        "session_start": [("user_engaged", "app_open")],
        "purchase": [("user_purchased", None)],
        "signup": [("user_signed_up", None)],
        "unsubscribe_all": [("user_unsubscribed", "all_campaigns")],
        "impression": [("campaign_delivered", None)],
        "open": [("campaign_viewed", "opened"), ("campaign_viewed", "clicked_cta")],
        "click": [("campaign_clicked", None)],
    }
}
SUBTYPES = {
    "user_engaged": ["app_open", "search"],
    "campaign_viewed": ["received", "opened", "clicked_cta"],
    "user_unsubscribed": ["all_campaigns", "push_only"],
}
TYPES = [
    "campaign_delivered",
    "campaign_viewed",
    "campaign_clicked",
    "user_engaged",
    "user_purchased",
    "user_signed_up",
    "user_unsubscribed",
]


def random_event(rng: random.Random, number: int, *, tenant: str = "demo", span: float = 3 * 86400) -> dict[str, Any]:
    """A line without chunk; some are late, some hold out, times spread over `span` seconds before NOW."""
    event_type = rng.choice(TYPES)
    user = f"user-{rng.randrange(12)}"
    timestamp = round(NOW - rng.random() ** 3 * span, 3)
    return {
        "tenant": tenant,
        "event_id": f"event-{number}",
        "event_type": event_type,
        "timestamp": timestamp,
        "received_at": round(NOW - rng.random() * 50, 3),
        "user_id": user,
        "source": "mobile",
        "slot": slot_of(tenant, user),
        "pack": "marketing",
        "subtype": rng.choice(SUBTYPES.get(event_type, [""])),
        "campaign_id": rng.choice(["", "spring", "autumn"]),
        "segment": rng.choice(["", "VIP", "NEW_SHOPPER"]),
        "channel": rng.choice(["push", "email", ""]),
        "is_holdout": event_type == "campaign_delivered" and rng.random() < 0.2,
        "amount_micros": rng.randrange(1, 10**9) if event_type == "user_purchased" else 0,
        "properties": {"n": number, "nested": {"a": [1, 2.5, None]}},
        "context": {"platform": "iOS"},
    }


def record(lines: Sequence[dict[str, Any]], partition: int, offset: int, number: int) -> Record:
    """One chunk of these lines."""
    counts = Counter((line["tenant"], int(line["received_at"]) // 60 * 60) for line in lines)
    value = b"".join(orjson.dumps({**line, "chunk": number}) + b"\n" for line in lines)
    header = encode_counts([ChunkCount(tenant, minute, "", n) for (tenant, minute), n in counts.items()])
    return Record(partition, offset, value, {"chunk": str(number).encode(), "counts": header})


def chunked(lines: Iterable[dict[str, Any]], rng: random.Random, *, partitions: int = PARTITIONS) -> list[Record]:
    """The lines in chunks of random sizes, each user's on its partition, in the given order."""
    by_partition: dict[int, list[dict[str, Any]]] = {}
    for line in lines:
        by_partition.setdefault(line["slot"] % partitions, []).append(line)
    records: list[Record] = []
    number = rng.randrange(1, 1 << 40)
    for partition, some in by_partition.items():
        start, offset = 0, 0
        while start < len(some):
            size = rng.randrange(1, 40)
            number += 1
            records.append(record(some[start : start + size], partition, offset, number))
            start, offset = start + size, offset + 1
    return records
