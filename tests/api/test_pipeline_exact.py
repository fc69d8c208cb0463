"""`GET /pipeline` over a random ledger and random times of receipt and storing, against lists, sets and counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

import pytest

from api.times import iso
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from tests.api import rows
from tests.api.ask import get
from tests.api.conftest import Site
from tests.api.world import NOW, Event, World, lines

MINUTE = 60_000
END = int(NOW * 1000)
REASONS = {"rejected": ("empty_id", "wrong_type"), "duplicate": ("", "conflict")}
STAGES = (
    "received", "recovered", "abandoned", "accepted", "rejected", "duplicate", "late", "suppressed", "dead_letter",
)  # fmt: skip


class Stored(NamedTuple):
    """An event's times, ms."""

    event_id: str
    received: int
    inserted: int


@dataclass
class Book:
    """A tenant's events, and its counts by (minute, stage, reason)."""

    tenant: str
    stored: list[Stored] = field(default_factory=list)
    counts: dict[tuple[int, str, str], int] = field(default_factory=dict)

    def of(self, start: int, end: int, stage: str, reason: str | None = None) -> int:
        """The sum over the whole minutes that a range touches."""
        first, last = start // MINUTE, -(-end // MINUTE)
        return sum(
            n for (minute, name, why), n in self.counts.items()
            if first <= minute < last and name == stage and reason in (None, why)
        )  # fmt: skip


def put_events(
    store: Warehouse, pack: Pack, book: Book, events: Iterable[Event], times: Iterable[tuple[int, int]]
) -> None:
    """Each received and stored at a time of its own."""
    body = b""
    for event, (received, inserted) in zip(events, times, strict=False):
        moments = {"received_at": received / 1000, "inserted_at": inserted / 1000}
        happened = {**event, "timestamp": iso(received - 1000)}
        body += lines([happened], pack, book.tenant, backfill=True, **moments)
        book.stored.append(Stored(event["event_id"], received, inserted))
    store.insert_lines("events", body)


def put_counts(store: Warehouse, book: Book, rng: Random) -> None:
    """Of minutes that closed long ago: several origins, some in several versions, of which the newest holds."""
    found: list[dict[str, Any]] = []
    for minute in rng.sample(range(END // MINUTE - 240, END // MINUTE - 20), 60):
        for stage in rng.sample(STAGES, 6):
            for reason in REASONS.get(stage, ("",)):
                for origin in range(2, 2 + rng.choice((1, 1, 3))):
                    newest = rng.choice((1, 2))
                    for version in range(1, newest + 1):
                        n = rng.randrange(1, 1000)
                        row = rows.ledger(book.tenant, stage, n, minute=minute * 60, reason=reason, origin=origin,
                                          version=version)  # fmt: skip
                        found.append(row)
                    key = minute, stage, reason
                    book.counts[key] = book.counts.get(key, 0) + n
    rng.shuffle(found)
    rows.put(store, "ledger", *found)


def delays(rng: Random) -> int:
    """From the collector's answer to the row, ms; clocks differ."""
    return rng.choice((-40, 0, 7, rng.randrange(900), rng.randrange(60_000), rng.randrange(4_000_000)))


@pytest.fixture
def book(tenant: str, store: Warehouse, pack: Pack) -> Book:
    made, world = Book(tenant), World(27, days=3)
    received = [END - world.rng.randrange(4 * 60 * MINUTE) for _ in range(400)]
    put_events(store, pack, made, world.events(400), [(at, at + delays(world.rng)) for at in received])
    put_counts(store, made, world.rng)
    return made


def quantile(waits: list[int], share: float) -> float | None:
    """The first that is larger than so large a share of them, in seconds; clocks that run ahead are 0."""
    ordered = sorted(waits)
    return max(0, ordered[int(share * len(ordered))]) / 1000 if ordered else None


@pytest.mark.parametrize("seed", range(6))
async def test_the_pipeline_equals_what_was_counted(site: Site, book: Book, seed: int) -> None:
    """Every count, what waits, what is missing, and how long storing took; over ranges that cut minutes."""
    rng = Random(seed)
    start = END - rng.randrange(60, 240) * MINUTE - rng.randrange(MINUTE)
    end = END - 21 * MINUTE - rng.randrange(30 * MINUTE)
    told = await get(site, book.tenant, "/pipeline", start=iso(start), end=iso(end))
    first, last = start // MINUTE * MINUTE, -(-end // MINUTE) * MINUTE
    stored = len({one.event_id for one in book.stored if first <= one.received < last})
    sums = {stage: book.of(start, end, stage) for stage in STAGES}
    received, rejected = sums["received"] + sums["recovered"], sums["rejected"]
    settled = stored + sums["duplicate"] + sums["suppressed"] + sums["dead_letter"]
    wanted = {
        "received": received, "recovered": sums["recovered"], "abandoned": sums["abandoned"],
        "accepted": sums["accepted"], "duplicates": sums["duplicate"], "late": sums["late"],
        "suppressed": sums["suppressed"], "dead_letters": sums["dead_letter"], "stored": stored,
        "rejected": {reason: book.of(start, end, "rejected", reason) for reason in REASONS["rejected"]},
        "in_flight": max(0, max(sums["accepted"], received - rejected) - settled),
        "difference": {"received": received - sums["accepted"] - rejected, "accepted": sums["accepted"] - settled},
    }  # fmt: skip
    assert {name: told[name] for name in wanted} == wanted
    assert stored and all(sums.values()), "a test over nothing proves nothing"
    waits = [one.inserted - one.received for one in book.stored if start <= one.received < end]
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    assert told["freshness_seconds"] == {name: quantile(waits, share) for name, share in shares.items()}


async def test_the_minutes_of_the_pipeline_equal_what_was_counted(site: Site, book: Book) -> None:
    start, end = END - 150 * MINUTE - 1, END - 60 * MINUTE + 1
    told = await get(site, book.tenant, "/pipeline", start=iso(start), end=iso(end), interval="minute")
    wanted = []
    for minute in range(start // MINUTE, -(-end // MINUTE)):
        if any(at == minute for at, _, _ in book.counts):
            sums = {stage: book.of(minute * MINUTE, minute * MINUTE + 1, stage) for stage in STAGES}
            wanted.append({
                "minute": iso(minute * MINUTE), "received": sums["received"] + sums["recovered"],
                "accepted": sums["accepted"], "rejected": sums["rejected"], "duplicates": sums["duplicate"],
                "late": sums["late"], "recovered": sums["recovered"],
            })  # fmt: skip
    assert told["series"] == wanted and len(wanted) > 10


@pytest.mark.parametrize("many", [0, 3, 77])
async def test_the_rate_is_what_was_stored_in_ten_seconds(
    site: Site, tenant: str, store: Warehouse, pack: Pack, many: int
) -> None:
    """The millisecond ten seconds ago counts, the one before it and the present do not; a repeated row counts once."""
    now, made, world = int((site.clock.now() + 1.5) * 1000), Book(tenant), World(28, days=2)
    edges = [now - 10_001, now, now + 5, *([now - 10_000, now - 1] if many else [])]
    inside = [now - 1 - world.rng.randrange(10_000) for _ in range(many)]
    events = world.events(len(edges) + many)
    put_events(store, pack, made, events, [(at - 300, at) for at in [*edges, *inside]])
    put_events(store, pack, made, events[-many:] if many else [], [(at - 300, at) for at in inside])
    told = await get(site, tenant, "/pipeline")
    assert int(site.clock.now() * 1000) == now
    counted = {one.event_id for one in made.stored if now - 10_000 <= one.inserted < now}
    assert len(counted) == (many + 2 if many else 0)
    assert told["events_per_second"] == pytest.approx(len(counted) / 10)
