"""How many validated events a second one core of the collector takes: `python benchmarks/collector.py`.

The server runs on core 0 and the load generator on core 1 (where there are two). Batches of 100 events of the
marketing pack, made beforehand, go over HTTP on loopback. Two runs: Kafka's acknowledgements made up at once (the
collector alone), and the embedded broker (which shares core 1). Other load on the machine disturbs least the figure
of events a CPU second of the server process, librdkafka's threads included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import orjson
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ingest.decode import decode_fast
from ingest.gather import Chunk, Group, Ticket
from ingest.producer import Delivered
from ingest.settings import CollectorSettings, ProducerSettings
from ingest.steps import Origin, address, encode, limit_depth, limit_size, refuse_unreadable, validate
from schemas.clock import SystemClock
from schemas.keys import DEV_WRITE_KEY, KeyStore
from schemas.taxonomy import shipped_packs, validator
from schemas.topics import EVENTS, topics

PARTITIONS = 8
BATCH = 100
BODIES = 200
CONNECTIONS = 16


class Discard:
    """A producer that acknowledges at the next poll and keeps nothing."""

    def __init__(self) -> None:
        self._due: list[Delivered] = []

    def produce(
        self, topic: str, partition: int, value: bytes, headers: list[tuple[str, bytes]], delivered: Delivered
    ) -> None:
        self._due.append(delivered)

    def poll(self) -> None:
        due, self._due = self._due, []
        for delivered in due:
            delivered("")

    def partitions(self, topic: str, timeout: float) -> int:
        return PARTITIONS

    def close(self, timeout: float) -> int:
        return 0


def make_event(rng: random.Random, now: float) -> dict[str, object]:
    campaign, creative = (str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(2))
    return {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "event_type": "campaign_viewed",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - rng.random() * 60)),
        "user_id": f"user-{rng.randrange(50_000)}",
        "session_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "source": "mobile",
        "properties": {
            "campaign_id": campaign,
            "creative_id": creative,
            "view_duration_seconds": rng.randrange(60),
            "view_type": "opened",
            "viewed_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
            "impression_position": rng.randrange(10),
        },
        "context": {"app_version": "3.2.1", "platform": "iOS", "user_segment": "HIGH_SPENDER", "region": "US-CA"},
    }


def make_bodies(seed: int = 1) -> list[bytes]:
    rng, now = random.Random(seed), time.time()
    return [orjson.dumps({"events": [make_event(rng, now) for _ in range(BATCH)]}) for _ in range(BODIES)]


def serve(port: int, kafka: str, compression: str, gather_ms: float) -> None:
    from ingest import server
    from ingest.producer import KafkaProducer

    os.sched_setaffinity(0, {0})
    clock = SystemClock()
    packs = {name: validator(pack) for name, pack in shipped_packs().items()}
    settings = CollectorSettings(port=port, producer=ProducerSettings(compression=compression))
    settings = settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"gather_ms": gather_ms})})
    keys = KeyStore(None, clock, dev_keys=True)
    producer = KafkaProducer(kafka, settings.producer, 4.0) if kafka else Discard()
    collector = server.build(settings, packs, keys, clock, producer, PARTITIONS)
    profile = os.environ.get("PROFILE")
    if profile:
        import cProfile

        cProfile.runctx("server.run(collector, clock, server.listen(settings))", globals(), locals(), profile)
    else:
        server.run(collector, clock, server.listen(settings))


async def load(port: int, seconds: float, bodies: list[bytes]) -> tuple[int, list[float]]:
    """Send for `seconds`; how many events were accepted, and the latencies in seconds."""
    head = (
        f"POST /api/analytics/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {DEV_WRITE_KEY}\r\n"
        "content-type: application/json\r\ncontent-length: %d\r\n\r\n"
    )
    requests = [(head % len(body)).encode() + body for body in bodies]
    end, accepted, latencies = time.perf_counter() + seconds, 0, []

    async def connection(number: int) -> None:
        nonlocal accepted
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        turn = number
        while time.perf_counter() < end:
            started = time.perf_counter()
            writer.write(requests[turn % len(requests)])
            headers = await reader.readuntil(b"\r\n\r\n")
            length = int(headers.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            answer = await reader.readexactly(length)
            if b" 200 " not in headers[:20]:
                raise RuntimeError(f"{headers!r} {answer[:300]!r}")
            accepted += json.loads(answer)["accepted"]
            latencies.append(time.perf_counter() - started)
            turn += CONNECTIONS
        writer.close()

    await asyncio.gather(*(connection(number) for number in range(CONNECTIONS)))
    return accepted, latencies


def measure(name: str, kafka: str, seconds: float, bodies: list[bytes], compression: str, gather_ms: float) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--serve", str(port), "--kafka", kafka, "--compression", compression]
    server = subprocess.Popen([*command, "--gather-ms", str(gather_ms)])
    try:
        wait_for(port)
        asyncio.run(load(port, 1.0, bodies))
        process = psutil.Process(server.pid)
        before, started = process.cpu_times(), time.perf_counter()
        accepted, latencies = asyncio.run(load(port, seconds, bodies))
        wall, after = time.perf_counter() - started, process.cpu_times()
        cpu = after.user + after.system - before.user - before.system
        latencies.sort()
        figures = {
            "run": name,
            "events_per_second": round(accepted / wall),
            "events_per_cpu_second": round(accepted / cpu),
            "server_cpu": round(cpu / wall, 2),
            "system_share": round((after.system - before.system) / cpu, 2),
            "p50_ms": round(latencies[len(latencies) // 2] * 1000, 1),
            "p99_ms": round(latencies[len(latencies) * 99 // 100] * 1000, 1),
            "rss_mb": round(process.memory_info().rss / 1e6),
        }
        print(json.dumps(figures), flush=True)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the collector did not come up")


def split(bodies: list[bytes]) -> None:
    """What one event costs in each step, in microseconds, without HTTP and Kafka."""
    check = validator(shipped_packs()["marketing"])
    origin = Origin("demo", "marketing", "dev-write", round(time.time(), 3), False, check, PARTITIONS, 32, 65536, False)
    batches = [decode_fast(body, lines=False, limit=10_000) or [] for body in bodies]
    report("decode", lambda: [decode_fast(body, lines=False, limit=10_000) for body in bodies])
    report("refuse_unreadable", lambda: [refuse_unreadable(e, origin) for b in batches for e in b])
    report("limit_depth", lambda: [limit_depth(e, origin) for b in batches for e in b])
    report(
        "limit_size (large bodies)", lambda: [limit_size(e, origin._replace(weigh=True)) for b in batches for e in b]
    )
    report("validate", lambda: [validate(e, origin) for b in batches for e in b])
    lines = [validate(e, origin) for b in batches for e in b]
    report("address", lambda: [address(line, origin) for line in lines])
    report("encode", lambda: [encode(line, origin) for line in lines])
    ready = [encode(line, origin).open_json for line in lines]

    def gather() -> None:
        loop = asyncio.new_event_loop()
        for start in range(0, len(ready), 500):
            chunk = Chunk(EVENTS, 0)
            group = Group(EVENTS, 0, ready[start : start + 500], ("demo", 0, ""))
            chunk.add(group.lines, sum(map(len, group.lines)), group.key, Ticket(loop))
            chunk.seal(1 << 40, indexed=False)
        loop.close()

    report("gather", gather)


def report(name: str, work: Callable[[], object]) -> None:
    best = min(timed(work) for _ in range(5))
    print(f"  {name:28} {best / (BODIES * BATCH) * 1e6:6.2f} us an event", flush=True)


def timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=int, help="run the server on this port (used by the benchmark itself)")
    parser.add_argument("--kafka", default="")
    parser.add_argument("--compression", default="lz4")
    parser.add_argument("--gather-ms", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--no-broker", action="store_true")
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve, options.kafka, options.compression, options.gather_ms)
    bodies = make_bodies()
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {1})
    print(f"  {sum(map(len, bodies)) / BODIES / BATCH:.0f} bytes an event, {BATCH} events a batch")
    split(bodies)
    measure("acknowledged at once", "", options.seconds, bodies, options.compression, options.gather_ms)
    if options.no_broker:
        return None
    from deploy.embedded import broker
    from deploy.kafka_admin import create_topics

    handle = broker.start_process()
    try:
        create_topics(handle.url, topics(PARTITIONS))
        name = f"embedded broker, {options.compression}"
        measure(name, handle.url, options.seconds, bodies, options.compression, options.gather_ms)
    finally:
        handle.stop()
    return None


if __name__ == "__main__":
    main()
