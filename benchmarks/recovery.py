"""How a worker comes back: `python benchmarks/recovery.py [--events 10000000]`.

The embedded warehouse is filled with events of one day by SQL, as if workers had stored them. Then processes of their
own measure, each from a fresh start:
- `load`: one worker takes all partitions: seconds until every state is ready, in parts, and the memory of it.
- `ask`: what an id costs that a fingerprint suspects, when the warehouse is asked about 1, 100 and 5,000 at once.
- `held`: memory and probes of a million ids that are held exactly (the hot generation), and as fingerprints.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deploy.embedded import warehouse
from deploy.migrations import migrate_tables
from deploy.settings import changed, load
from schemas.clock import SystemClock
from schemas.taxonomy import shipped_packs
from sinks.settings import WarehouseSettings
from sinks.warehouse import Warehouse
from stream_processors.ids import Fingerprints, IdIndex
from stream_processors.recovery import Recovery
from stream_processors.state import shard_name

PARTITIONS = 8
SLOTS = 1024
STEP = 500_000
DAY = 86_400
MIB = 2**20


def event_id(number: int) -> str:
    """The id of event `number`, as the SQL makes it."""
    return f"bench-{number:012d}-0123456789abcdef"


def fill(house: Warehouse, count: int, users: int) -> None:
    """`count` events of the last day, and checkpoints as workers leave them."""
    now = int(time.time())
    for start in range(0, count, STEP):
        rows = min(STEP, count - start)
        house.command(
            "INSERT INTO events (tenant, event_id, event_type, timestamp, received_at, inserted_at, user_id,"
            " session_id, source, slot, chunk, campaign_id, pack, version, key_id, properties, context)"
            " SELECT 'bench', concat('bench-', leftPad(toString(n), 12, '0'), '-0123456789abcdef'),"
            " arrayElement(['campaign_viewed', 'campaign_clicked', 'user_engaged', 'user_purchased'], n % 4 + 1),"
            f" toDateTime64({now - DAY} + n / {count} * {DAY - 5}, 3, 'UTC') AS at, at, addSeconds(at, 1),"
            f" concat('user-', toString(cityHash64(n) % {users} AS user)), 'session', 'mobile', user % {SLOTS},"
            " intDiv(n, 200), concat('campaign-', toString(n % 8)), 'marketing', '1.0.0', 'bench',"
            """ '{"view_duration_seconds":3,"view_type":"opened"}', '{"platform":"iOS"}'"""
            f" FROM (SELECT number AS n FROM numbers({start}, {rows}))"
        )
    shards = ", ".join(
        f"('processor', '{shard_name(partition, PARTITIONS)}', {now}, 1)" for partition in range(PARTITIONS)
    )
    house.command(f"INSERT INTO checkpoints (name, shard, covered_until, version) VALUES {shards}")


def recovery(house: Warehouse) -> Recovery:
    """As a worker of default settings makes it."""
    roles = {name: pack.roles for name, pack in shipped_packs().items()}
    worker = load({}).worker
    return Recovery(
        house,
        roles,
        SystemClock(),
        partitions=PARTITIONS,
        recent_ids=worker.recent_ids,
        users_in_memory=worker.users_in_memory,
        hot_minutes=worker.hot_minutes,
    )


def connected(url: str) -> Warehouse:
    """Waits longer than a worker does: a bench fills tables faster than any worker."""
    return Warehouse(WarehouseSettings(url=url, answer_timeout=900))


def rss() -> float:
    """This process's own memory, MiB: without pages of files, which the kernel takes back when it needs them."""
    gc.collect()
    return rss_now()


def rss_now() -> float:
    found = psutil.Process().memory_info()
    return (found.rss - getattr(found, "shared", 0)) / MIB


def files() -> float:
    """Pages of files that this process holds at the moment, MiB."""
    return getattr(psutil.Process().memory_info(), "shared", 0) / MIB


@contextmanager
def timed(name: str, into: dict[str, float]) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    into[name] = into.get(name, 0.0) + time.perf_counter() - begin


def measure_load(url: str) -> None:
    """All partitions at once, as a worker does when it is assigned them."""
    found, parts = recovery(connected(url)), dict[str, float]()
    before, files_before = rss(), files()
    with timed("all", parts):
        states = found.load(range(PARTITIONS))
    peak = rss_now()
    ids = sum(len(state.ids) for state in states.values())
    grown = rss() - before
    with timed("ids alone", parts):
        for some in found._fingerprints(range(PARTITIONS)).values():
            IdIndex(lambda tenant, some: {}, recent=1, stored=some)
    print(
        f"load: {ids:,} ids in {PARTITIONS} partitions ready in {parts['all']:.1f} s"
        f" ({ids / parts['all'] / 1e6:.1f} million a second), of it ids alone {parts['ids alone']:.1f} s;"
        f" memory +{grown:,.0f} MiB, {grown / ids * 1e6:.1f} MiB a million ids; largest +{peak - before:,.0f} MiB;"
        f" pages of files +{files() - files_before:,.0f} MiB"
    )


def measure_ask(url: str, count: int) -> None:
    """Suspected ids of all partitions, asked in groups."""
    found = recovery(connected(url))
    for size in (1, 100, 5000):
        took = []
        for turn in range(10):
            ids = [event_id((turn * 7_919 + n * 104_729) % count) for n in range(size)]
            begin = time.perf_counter()
            stored = sum(len(found.chunks_of(partition, "bench", ids)) for partition in range(PARTITIONS))
            took.append((time.perf_counter() - begin) / PARTITIONS)
            if stored != len(set(ids)):
                raise SystemExit(f"asked for {len(set(ids))} ids, {stored} were found")
        middle = statistics.median(took)
        print(f"ask: {size:>5} ids at once: {middle * 1000:7.1f} ms a question, {middle / size * 1e6:9.1f} µs an id")


def measure_held() -> None:
    """A million ids in each form."""
    million = 1_000_000
    before = rss()
    index = IdIndex(lambda tenant, some: {}, recent=4 * million)
    for start in range(0, million, 200):
        index.remember_all("bench", [event_id(n) for n in range(start, start + 200)], start)
    exact = rss() - before
    probes = [event_id(n * 3) for n in range(200_000)]
    exact_rate = _rate(len(probes), lambda: [index.origin_of("bench", one) for one in probes])
    print(f"held exactly: {exact:,.0f} MiB a million ids; {exact_rate / 1e6:.1f} million probes a second")
    before = rss()
    rng = np.random.default_rng(1)
    prints = Fingerprints()
    begin = time.perf_counter()
    for _ in range(100):
        prints.add(rng.integers(0, 2**63, million // 10, dtype=np.uint64))
    added = 10 * million / (time.perf_counter() - begin)
    many = rss() - before
    asked = rng.integers(0, 2**63, 100_000, dtype=np.uint64)
    rate = _rate(len(asked), lambda: prints.contains(asked))
    print(
        f"fingerprints: {many / 10:,.1f} MiB a million ids (10 million held); {added / 1e6:.1f} million added a second;"
        f" {rate / 1e6:.1f} million probes a second"
    )


def _rate(count: int, probe: Callable[[], object]) -> float:
    """The best of five."""
    best = 0.0
    for _ in range(5):
        begin = time.perf_counter()
        probe()
        best = max(best, count / (time.perf_counter() - begin))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=("load", "ask", "held"), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.part == "held":
        return measure_held()
    if wanted.part is not None:
        return measure_load(wanted.url) if wanted.part == "load" else measure_ask(wanted.url, wanted.events)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        house = warehouse.start_process(Path(name) / "warehouse")
        try:
            migrate_tables(changed(load({}), {"warehouse.url": house.url}), SystemClock())
            begin = time.perf_counter()
            fill(connected(house.url), wanted.events, wanted.users)
            print(f"filled with {wanted.events:,} events in {time.perf_counter() - begin:.0f} s", flush=True)
            for part in [*["load"] * wanted.rounds, "ask", "held"]:
                words = ["--part", part, "--url", house.url, "--events", str(wanted.events)]
                subprocess.run([sys.executable, __file__, *words], check=True)
        finally:
            house.stop()


if __name__ == "__main__":
    main()
