"""The whole pipeline on the embedded servers: `python benchmarks/pipeline.py [throughput] [freshness]`.

- `throughput`: a topic is filled with chunks, then one worker starts; events a second from its first take until all
  rows can be queried, and the CPU seconds that each process took for it.
- `freshness`: `headrace up`, and a sender of a steady rate through the collector; the seconds from the collector's
  answer to the row (inserted_at - received_at), how long `up` took, and each process's largest memory.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import orjson
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from confluent_kafka import Producer

from benchmarks.events import TENANT, chunks, lines
from deploy.embedded import broker, warehouse
from deploy.embedded.process import spawn
from deploy.kafka_admin import create_topics
from deploy.migrations import migrate_tables
from deploy.settings import changed, child_environment, load
from deploy.stack import Stack, local_settings
from schemas.clock import SystemClock
from schemas.keys import DEV_WRITE_KEY
from schemas.topics import EVENTS, topics
from sinks.warehouse import Warehouse

PARTITIONS = 4


def throughput(count: int, size: int) -> None:
    """Kafka to queryable rows."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    kafka, house = broker.start_process(), warehouse.start_process(folder / "warehouse")
    settings = changed(
        load({}),
        {
            "data_dir": folder,
            "kafka.bootstrap": kafka.url,
            "kafka.session_timeout": 6.0,
            "kafka.partitions": PARTITIONS,
            "warehouse.url": house.url,
        },
    )
    worker = None
    try:
        migrate_tables(settings, SystemClock())
        create_topics(kafka.url, topics(PARTITIONS))
        _fill(kafka.url, count, size)
        rows = Warehouse(house.url)
        command = [sys.executable, "-m", "deploy.cli", "process", "--role", "events"]
        worker = spawn(command, folder / "worker.log", env=child_environment(settings))
        began, stored, first = 0.0, 0, 0
        before = [(0.0, 0.0)] * 3
        processes = [psutil.Process(p.pid) for p in (worker, house.process, kafka.process)]
        while stored < count:
            time.sleep(0.1)
            stored = int(rows.query(f"SELECT count() AS n FROM events WHERE tenant = '{TENANT}'")[0]["n"])
            if not began and stored:
                began, first = time.perf_counter(), stored
                before = [p.cpu_times() for p in processes]
        took = time.perf_counter() - began
        moved = count - first
        print(f"throughput: {moved / took:,.0f} events/s from Kafka to queryable rows ({moved:,} in {took:.1f} s)")
        for name, process, cpu in zip(("worker", "warehouse", "broker"), processes, before, strict=True):
            used = sum(process.cpu_times()[:2]) - sum(cpu[:2])
            memory = process.memory_info().rss / 2**20
            print(
                f"  {name:9} {used:6.1f} CPU s, {moved / max(used, 0.01):>9,.0f} events a CPU second, {memory:,.0f} MiB"
            )
    finally:
        for handle in (worker,):
            if handle is not None:
                handle.terminate()
                handle.wait()
        house.stop()
        kafka.stop()


def _fill(kafka: str, count: int, size: int) -> None:
    producer = Producer({"bootstrap.servers": kafka, "compression.type": "lz4", "linger.ms": 20, "log_level": 2})
    for partition, value, headers in chunks(lines(count, seed=3, spread=60.0), PARTITIONS, size):
        while True:
            try:
                producer.produce(EVENTS, value, partition=partition, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(60)


def freshness(rate: int, seconds: int) -> None:
    """Collector's answer to row, at a steady rate."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    stack = Stack(local_settings(data_dir=folder, collector_port=0, api_port=0))
    began = time.perf_counter()
    stack.start()
    try:
        stack.wait_ready()
        print(f"up: ready after {time.perf_counter() - began:.1f} s")
        peaks: dict[str, float] = {}
        done = threading.Event()
        watch = threading.Thread(target=_watch_memory, args=(peaks, done))
        watch.start()
        start = time.time()
        sent = _send(stack.collector_url, rate, seconds)
        time.sleep(3)
        done.set()
        watch.join()
        rows = Warehouse(stack.warehouse_url).query(
            "SELECT count() AS n, quantilesExact(0.5, 0.95, 0.99)(toFloat64(inserted_at) - toFloat64(received_at)) AS q"
            f" FROM events WHERE key_id != 'headrace' AND received_at >= toDateTime64({start + 5:.3f}, 3, 'UTC')"
        )
        p50, p95, p99 = rows[0]["q"]
        print(f"freshness at {sent / seconds:,.0f} events/s: p50 {p50:.2f} s, p95 {p95:.2f} s, p99 {p99:.2f} s")
        print("largest memory: " + ", ".join(f"{name} {mib:,.0f} MiB" for name, mib in sorted(peaks.items())))
    finally:
        stack.stop()


def _send(url: str, rate: int, seconds: int, batch: int = 50) -> int:
    """Send `rate` events a second for `seconds` from four threads; how many were accepted."""
    host = url.removeprefix("http://")
    sent = [0] * 4

    def one(number: int) -> None:
        connection = http.client.HTTPConnection(host)
        source = lines(rate * seconds, seed=100 + number, users=20_000)
        begin = time.perf_counter()
        for turn in range(rate * seconds // batch // 4):
            body = orjson.dumps([_event(next(source)) for _ in range(batch)])
            due = begin + turn * batch * 4 / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            connection.request("POST", "/api/analytics/events", body, {"Authorization": f"Bearer {DEV_WRITE_KEY}"})
            answer = connection.getresponse()
            said = json.loads(answer.read())
            sent[number] += said.get("accepted", 0)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(sent)


def _event(line: dict[str, object]) -> dict[str, Any]:
    campaign = str(line["campaign_id"])
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": "campaign_viewed",
        "timestamp": time.time(),
        "user_id": line["user_id"],
        "session_id": line["session_id"],
        "source": "mobile",
        "properties": {
            "campaign_id": campaign,
            "creative_id": line["creative_id"],
            "view_duration_seconds": 3,
            "view_type": "opened",
        },
        "context": line["context"],
    }


def _watch_memory(peaks: dict[str, float], done: threading.Event) -> None:
    while not done.wait(0.5):
        for process in psutil.Process().children(recursive=True):
            try:
                words = process.cmdline()
                rss = process.memory_info().rss / 2**20
            except psutil.Error:
                continue
            name = next((w for w in ("collect", "events", "watch", "serve") if w in words), "")
            name = name or ("warehouse" if "deploy.embedded.warehouse" in words else "broker")
            peaks[name] = max(peaks.get(name, 0.0), rss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["throughput", "freshness"])
    parser.add_argument("--count", type=int, default=1_500_000)
    parser.add_argument("--chunk", type=int, default=200)
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--seconds", type=int, default=30)
    wanted = parser.parse_args()
    if "throughput" in wanted.what:
        throughput(wanted.count, wanted.chunk)
    if "freshness" in wanted.what:
        freshness(wanted.rate, wanted.seconds)


if __name__ == "__main__":
    main()
