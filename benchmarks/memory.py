"""What a worker's own code holds after hours of traffic, without Kafka and warehouse: `python benchmarks/memory.py`.

500 events a second by a clock of their own, as in the soak (`tests/faults/test_soak.py`): 5,000 users, 2 % a day late,
eight partitions, a batch each quarter of a second, a flush each second, and free pages given back each minute. Prints
the least of each five minutes of the process's anonymous memory, and its slope after the first half hour. Two hours
take about two minutes of a core. What grows in the soak and not here is not the path's.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.consumers import Nothing
from benchmarks.events import SUBTYPES, TENANT, TYPES
from deploy.allocator import give_back_large_blocks, share_arenas
from schemas.clock import ManualClock
from schemas.taxonomy import shipped_packs
from schemas.wire import ChunkCount, encode_counts, slot_of
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import Record
from stream_processors.settings import ProcessorSettings
from stream_processors.worker import Worker, WorkerPorts
from tests.faults.soak import Series, floor, growth_percent_an_hour

PARTITIONS = 8
RATE = 500
STEP = 0.25
"""Seconds between two batches."""
BEGAN = 1_795_000_000.0
SETTLED = 1800.0
LATE = 26 * 3600.0


class Traffic:
    """Records as the collector would publish them."""

    def __init__(self, seed: int, users: int = 5_000) -> None:
        self._rng = random.Random(seed)
        self._slots = {f"user-{n}": slot_of(TENANT, f"user-{n}") for n in range(users)}
        self._users = list(self._slots)
        self._campaigns = [self._id() for _ in range(8)]
        self._offsets = [0] * PARTITIONS
        self._chunks = 0

    def batch(self, now: float) -> list[Record]:
        """What a quarter of a second brings, a chunk for each partition."""
        found: dict[int, list[dict[str, Any]]] = {}
        for event in self._events(now):
            found.setdefault(event["slot"] % PARTITIONS, []).append(event)
        return [self._record(partition, events, now) for partition, events in found.items()]

    def _id(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128)))

    def _events(self, now: float) -> Iterator[dict[str, Any]]:
        rng = self._rng
        for _ in range(int(RATE * STEP) + rng.randrange(-40, 40)):
            user, kind, campaign = rng.choice(self._users), rng.choice(TYPES), rng.choice(self._campaigns)
            at = now - rng.random() / 2 - (LATE if rng.random() < 0.02 else 0.0)
            yield {
                "tenant": TENANT, "event_id": self._id(), "event_type": kind, "timestamp": round(at, 3),
                "received_at": round(now, 3), "user_id": user, "session_id": "", "source": "mobile",
                "slot": self._slots[user], "campaign_id": campaign, "creative_id": "",
                "segment": "NEW_SHOPPER" if rng.random() < 0.3 else "", "channel": "push",
                "subtype": SUBTYPES.get(kind, ""), "amount_micros": 29_330_000 if kind == "user_purchased" else 0,
                "pack": "marketing", "version": "1.0.0", "key_id": "bench",
                "properties": {"campaign_id": campaign, "view_type": "opened"}, "context": {"platform": "iOS"},
            }  # fmt: skip

    def _record(self, partition: int, events: list[dict[str, Any]], now: float) -> Record:
        self._chunks += 1
        offset = self._offsets[partition]
        self._offsets[partition] += 1
        value = b"".join(orjson.dumps({**event, "chunk": self._chunks}) + b"\n" for event in events)
        counts = encode_counts([ChunkCount(TENANT, int(now) // 60 * 60, "", len(events))])
        return Record(partition, offset, value, {"chunk": str(self._chunks).encode(), "counts": counts}, now)


def held() -> float:
    """MiB of this process without pages of files."""
    found = psutil.Process().memory_info()
    return float(found.rss - found.shared) / 2**20


def run(hours: float, recent: int) -> Series:
    """(seconds, MiB), each five seconds of the traffic."""
    clock, nothing, traffic, series = ManualClock(BEGAN), Nothing(), Traffic(1), Series()
    settings = ProcessorSettings(
        kafka="none", group="none", session_timeout=6, partitions=PARTITIONS, recent_ids=recent
    )  # fmt: skip
    ports = WorkerPorts(nothing, nothing, nothing, nothing, nothing, clock)
    worker = Worker(
        settings, {name: pack.roles for name, pack in shipped_packs().items()}, ports, WorkerMetrics("events")
    )
    trim = ctypes.CDLL(None).malloc_trim
    for step in range(int(hours * 3600 / STEP)):
        worker.handle_events(traffic.batch(clock.now()))()
        clock.advance(STEP)
        if step % int(1 / STEP) == 0:
            worker.flush()
        if step % int(60 / STEP) == 0:
            trim(0)
        if step % int(5 / STEP) == 0:
            series.append((clock.now() - BEGAN, held()))
    return series


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--recent", type=int, default=4_000, help="ids that a partition holds exactly")
    wanted = parser.parse_args()
    give_back_large_blocks()
    share_arenas()
    series = run(wanted.hours, wanted.recent)
    print("MiB:", *(f"{value:.1f}" for _, value in floor(series)))
    settled = [point for point in series if point[0] >= SETTLED]
    if settled:
        print(f"growth after half an hour: {growth_percent_an_hour(floor(settled)):.2f} % an hour")


if __name__ == "__main__":
    main()
