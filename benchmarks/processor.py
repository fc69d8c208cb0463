"""The processor beside a plain Faust agent and beside Quix Streams: `python benchmarks/processor.py`.

The same counting job on the same broker (embedded, on loopback), one consumer process at a time, taking turns:
- `plain`: a Faust agent, one JSON event a record, deduplicate by id and count by (event type, campaign, minute).
- `quix`: Quix Streams (in requirements-bench.lock; left out when not installed), the same job and records.
- `headrace`: our worker on chunks of 200, without a sink: deduplication, late tags, windows, user states.
- `counting`: our worker with the steps of the others' job alone: deduplication and counts.
Each consumer says how long it took from its first to its last event. The figures that count are the
ratios; events a CPU second hardly change with what else the machine does.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from confluent_kafka import Producer

from benchmarks.events import chunks, lines
from deploy.embedded import broker
from deploy.kafka_admin import create_topics
from schemas.topics import EVENTS, Topic, topics

PARTITIONS = 4
PLAIN = "bench.plain"
CONSUMERS = Path(__file__).with_name("consumers.py")


def fill(kafka: str, plain: int, chunked: int) -> None:
    """Produce both topics."""
    producer = Producer({"bootstrap.servers": kafka, "compression.type": "lz4", "linger.ms": 20, "log_level": 2})

    def produce(*args: Any, **kwargs: Any) -> None:
        while True:
            try:
                producer.produce(*args, **kwargs)
                producer.poll(0)
                return
            except BufferError:
                producer.poll(0.1)

    for event in lines(plain, seed=1):
        produce(PLAIN, orjson.dumps(event), partition=int(str(event["slot"])) % PARTITIONS)
    for partition, value, headers in chunks(lines(chunked, seed=2), PARTITIONS, 200):
        produce(EVENTS, value, partition=partition, headers=headers)
    producer.flush(60)


def run(kind: str, kafka: str, count: int, number: int) -> tuple[float, float]:
    """Events a second, and events a CPU second, of one consumer process."""
    command = [sys.executable, str(CONSUMERS), kind, kafka, str(count), f"bench-{kind}-{number}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("rate "):
            _, wall, cpu = line.split()
            return float(wall), float(cpu)
    raise SystemExit(f"{kind} gave no figure (exit {done.returncode}):\n{done.stdout[-2000:]}{done.stderr[-3000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", type=int, default=60_000, help="events of the one-event-a-record topic")
    parser.add_argument("--chunked", type=int, default=600_000, help="events of the chunked topic")
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    kinds = {"plain": wanted.plain, "headrace": wanted.chunked, "counting": wanted.chunked}
    if importlib.util.find_spec("quixstreams") is not None:
        kinds["quix"] = wanted.plain
    handle = broker.start_process()
    try:
        create_topics(handle.url, [*topics(PARTITIONS), Topic(PLAIN, PARTITIONS)])
        fill(handle.url, wanted.plain, wanted.chunked)
        rates: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for number in range(wanted.rounds):
            for kind, count in kinds.items():
                wall, cpu = run(kind, handle.url, count, number)
                rates[kind].append((wall, cpu))
                print(f"round {number + 1}: {kind:9} {wall:>10,.0f} events/s {cpu:>10,.0f} a CPU second", flush=True)
    finally:
        handle.stop()
    for which, unit in enumerate(("events/s", "events a CPU second")):
        medians = {kind: statistics.median(value[which] for value in values) for kind, values in rates.items()}
        for kind, value in medians.items():
            whole, same = medians["headrace"] / value, medians["counting"] / value
            print(f"{kind:9} median {value:>10,.0f} {unit}; headrace does {whole:.1f}, counting {same:.1f} times that")


if __name__ == "__main__":
    main()
