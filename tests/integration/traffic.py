"""Chunks as a collector makes them, in the order of their partitions, and what must become of them, in plain Python."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

from schemas.wire import slot_of
from stream_processors.ports import Record
from tests.support.chunks import record

Line = dict[str, Any]
DAY = 86_400

KINDS = (
    ("campaign_delivered", ("",), 6),
    ("campaign_viewed", ("received", "opened", "clicked_cta"), 4),
    ("campaign_clicked", ("cta", "image"), 2),
    ("user_engaged", ("app_open", "search"), 4),
    ("user_purchased", ("",), 2),
    ("user_signed_up", ("",), 1),
    ("user_unsubscribed", ("all_campaigns", "one_campaign"), 1),
)
ACTIVE = {"user_engaged", "campaign_clicked", "user_purchased", "user_signed_up"}
TENANTS = ("demo", "other")


def lines(count: int, rng: random.Random) -> list[Line]:
    """Different events, of now, of earlier days, and late ones. Both tenants use the same ids, for other events."""
    now = time.time()
    weights = [weight for _, _, weight in KINDS]
    return [_line(number, rng.choices(KINDS, weights)[0], now, rng) for number in range(count)]


def _line(number: int, kind: tuple[str, tuple[str, ...], int], now: float, rng: random.Random) -> Line:
    event_type, subtypes, _ = kind
    tenant = TENANTS[number % 2]
    user = f"user-{rng.randrange(1500)}"
    age = rng.choice((rng.random() * 300, rng.random() * 0.9 * DAY, rng.uniform(1.1, 20) * DAY))
    return {
        "tenant": tenant,
        "event_id": f"event-{number // 2}",
        "event_type": event_type,
        "timestamp": round(now - age, 3),
        "received_at": round(now - rng.random() * 100, 3),
        "user_id": user,
        "session_id": f"session-{rng.randrange(9)}",
        "source": rng.choice(("mobile", "backend")),
        "slot": slot_of(tenant, user),
        "campaign_id": rng.choice(("", "spring", "autumn")),
        "creative_id": rng.choice(("", "blue")),
        "segment": rng.choice(("", "VIP", "NEW_SHOPPER")),
        "channel": rng.choice(("push", "email", "")),
        "order_id": f"order-{number}" if event_type == "user_purchased" else "",
        "subtype": rng.choice(subtypes),
        "is_holdout": event_type == "campaign_delivered" and rng.random() < 0.1,
        "backfill": rng.random() < 0.1,
        "amount_micros": rng.randrange(1, 10**9) if event_type == "user_purchased" else 0,
        "pack": "marketing",
        "version": "1.0.0",
        "key_id": "key",
        "extra": 0,
        "properties": {"n": number, "text": "ä'\\\n", "nested": {"a": [1, 2.5, None]}},
        "context": {"platform": "iOS"},
    }


Chunks = list[list[tuple[int, list[Line]]]]
"""For each partition its chunks in order: number and lines."""


def chunks(some: Iterable[Line], rng: random.Random, *, partitions: int = 4, most: int = 300) -> Chunks:
    """Each user's lines on its partition; a tenth of them comes twice, at once or later, in any chunk."""
    waiting: list[list[Line]] = [[] for _ in range(partitions)]
    for line in some:
        place = waiting[line["slot"] % partitions]
        place.append(line)
        if rng.random() < 0.1:
            again = {**line, "received_at": round(line["received_at"] + rng.random() * 90, 3)}
            place.insert(rng.randrange(max(0, len(place) - 900), len(place)) + 1, again)
    number = rng.randrange(1, 1 << 40)
    found: Chunks = []
    for queue in waiting:
        found.append([])
        start = 0
        while start < len(queue):
            size, number = rng.randrange(1, most), number + 1
            found[-1].append((number, queue[start : start + size]))
            start += size
    return found


def records(made: Chunks) -> list[Record]:
    """The chunks as Kafka records, partitions in turn."""
    queues = [
        [record(some, partition, offset, number) for offset, (number, some) in enumerate(queue)]
        for partition, queue in enumerate(made)
    ]
    return [one for turn in zip_longest(*queues) for one in turn if one is not None]


class Truth(NamedTuple):
    """What a reader must see: events and users by (tenant, id), windows by cell, the ledger by stage and minute."""

    events: dict[tuple[str, str], Line]
    windows: dict[tuple[Any, ...], tuple[int, int, int, int]]
    users: dict[tuple[str, str], dict[str, Any]]
    ledger: Counter[tuple[str, str, int]]


def truth(made: Chunks) -> Truth:
    """The first copy of an event counts."""
    events: dict[tuple[str, str], Line] = {}
    ledger: Counter[tuple[str, str, int]] = Counter()
    for queue in made:
        for number, some in queue:
            for line in some:
                key, minute = (line["tenant"], line["event_id"]), int(line["received_at"]) // 60 * 60
                ledger[line["tenant"], "accepted", minute] += 1
                if key in events:
                    ledger[line["tenant"], "duplicate", minute] += 1
                    continue
                events[key] = {**line, "chunk": number}
                ledger[line["tenant"], "late", minute] += _is_late(line)
    return Truth(events, _windows(events.values()), _users(events.values()), +ledger)


def _is_late(line: Line) -> bool:
    return line["received_at"] - line["timestamp"] > DAY and not line["backfill"]


def _windows(events: Iterable[Line]) -> dict[tuple[Any, ...], tuple[int, int, int, int]]:
    cells: dict[tuple[Any, ...], list[Line]] = {}
    for line in events:
        subtype = "holdout" if line["is_holdout"] else line["subtype"]
        minute = int(line["timestamp"]) // 60 * 60
        key = (line["tenant"], minute, line["event_type"], subtype)
        cells.setdefault((*key, *(line[name] for name in DIMENSIONS)), []).append(line)
    return {
        key: (
            len(cell),
            len({line["user_id"] for line in cell}),
            sum(line["amount_micros"] for line in cell),
            sum(map(_is_late, cell)),
        )
        for key, cell in cells.items()
    }


DIMENSIONS = ("campaign_id", "creative_id", "segment", "channel")


def _users(events: Iterable[Line]) -> dict[tuple[str, str], dict[str, Any]]:
    by_user: dict[tuple[str, str], list[Line]] = {}
    for line in events:
        by_user.setdefault((line["tenant"], line["user_id"]), []).append(line)
    return {key: _user(some) for key, some in by_user.items()}


def _user(some: list[Line]) -> dict[str, Any]:
    def times(chosen: Iterator[Line]) -> list[float]:
        return [line["timestamp"] for line in chosen]

    def of(*kinds: str) -> Iterator[Line]:
        return (line for line in some if line["event_type"] in kinds)

    opens = [line for line in of("campaign_viewed") if line["subtype"] in ("opened", "clicked_cta")]
    active, bought = times(of(*ACTIVE)) + times(iter(opens)), times(of("user_purchased"))
    left = times(line for line in of("user_unsubscribed") if line["subtype"] == "all_campaigns")
    segment = max(((line["timestamp"], line["segment"]) for line in some if line["segment"]), default=(0.0, ""))
    return {
        "first_seen": min(times(iter(some))),
        "last_seen": max(times(iter(some))),
        "last_active": max(active, default=None),
        "signed_up_at": min(times(of("user_signed_up")), default=None),
        "first_purchase_at": min(bought, default=None),
        "last_purchase_at": max(bought, default=None),
        "unsubscribed_at": max(left, default=None),
        "events": len(some),
        "purchases": len(bought),
        "monetary_micros": sum(line["amount_micros"] for line in of("user_purchased")),
        "sessions": sum(line["subtype"] == "app_open" for line in of("user_engaged")),
        "delivered": dict(Counter(line["channel"] for line in of("campaign_delivered") if not line["is_holdout"])),
        "opened": dict(Counter(line["channel"] for line in opens)),
        "clicked": sum(1 for _ in of("campaign_clicked")),
        "segment": segment[1],
        "segment_at": segment[0],
    }
