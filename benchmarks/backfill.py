"""`headrace backfill` into Kafka, by format: `python benchmarks/backfill.py [--broker tansu|apache] [FORMAT …]`.

Each format holds the same events. A run is the command as a user types it, with its start, until Kafka has
acknowledged every event (`acks=all`); the rate is the one that the command prints (from the first byte read on).
Formats take turns, so that what else the machine does meets all of them; the best of the rounds is the figure, and
events a CPU second (the command's processes, without the broker) hardly change with the machine.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import zstandard

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.events import lines
from deploy.embedded import broker, kafka
from deploy.kafka_admin import create_topics
from schemas.topics import topics
from tests.e2e.up import clean

PARTITIONS = 4
ENVELOPE = ("event_id", "event_type", "timestamp", "user_id", "session_id", "source", "properties", "context")
TYPE = "campaign_viewed"
MAPPING = """
event_type: campaign_viewed
event_id: {column: event_id}
timestamp: {column: timestamp, type: float}
user_id: {column: user_id}
session_id: {column: session_id}
source: mobile
properties:
  campaign_id: {column: campaign_id}
  creative_id: {column: creative_id}
  view_duration_seconds: {column: view_duration_seconds, type: int}
  view_type: opened
context:
  platform: {column: platform}
  region: {column: region}
"""
COLUMNS = ("event_id", "timestamp", "user_id", "session_id", "campaign_id", "creative_id", "view_duration_seconds",
           "platform", "region")  # fmt: skip


def events(count: int) -> Iterator[dict[str, Any]]:
    """As an SDK sends them, about 430 bytes each."""
    for line in lines(count, seed=5):
        event: dict[str, Any] = {name: line[name] for name in ENVELOPE}
        event["event_type"] = TYPE
        yield event


def rows(count: int) -> Iterator[dict[str, Any]]:
    """The same as flat rows."""
    for event in events(count):
        flat = {**event, **event["properties"], **event["context"]}
        yield {name: flat[name] for name in COLUMNS}


def write_ndjson(path: Path, count: int) -> None:
    with path.open("wb") as out:
        for event in events(count):
            out.write(orjson.dumps(event) + b"\n")


def write_csv(path: Path, count: int) -> None:
    with path.open("w") as out:
        out.write(",".join(COLUMNS) + "\n")
        for row in rows(count):
            out.write(",".join(map(str, row.values())) + "\n")


def write_parquet(path: Path, count: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(rows(count))), path, row_group_size=200_000)


def packed(write: Callable[[Path, int], None], pack: Callable[[bytes], bytes]) -> Callable[[Path, int], None]:
    """`write`, and compress what it wrote."""

    def both(path: Path, count: int) -> None:
        plain = path.with_suffix(".plain")
        write(plain, count)
        path.write_bytes(pack(plain.read_bytes()))
        plain.unlink()

    return both


FORMATS: dict[str, Callable[[Path, int], None]] = {
    "ndjson": write_ndjson,
    "ndjson.gz": packed(write_ndjson, lambda data: gzip.compress(data, 6)),
    "ndjson.zst": packed(write_ndjson, lambda data: zstandard.compress(data, 3)),
    "csv": write_csv,
    "csv.gz": packed(write_csv, lambda data: gzip.compress(data, 6)),
    "parquet": write_parquet,
}


def run(path: Path, mapping: Path, url: str, processes: int, state: Path) -> tuple[float, float]:
    """Events a second, and a CPU second, of one run."""
    command = [sys.executable, "-m", "deploy.cli", "backfill", str(path), "--tenant", "bench", "--kafka", url]
    command += ["--processes", str(processes), "--restart", "--state", str(state)]
    command += [] if "ndjson" in path.name else ["--mapping", str(mapping)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=clean(), capture_output=True, text=True, timeout=600, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{path.name}: exit {done.returncode}\n{done.stderr[-3000:]}")
    said = json.loads(done.stdout)
    if said["rejected"]:
        raise SystemExit(f"{path.name}: rejected {said['rejected']}\n{done.stderr[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return said["events_per_second"], said["events"] / cpu


def measure(kind: str, wanted: argparse.Namespace, folder: Path, files: dict[str, Path]) -> None:
    """All formats on one broker, a fresh one each round: what a broker holds must not slow the next run."""
    mapping = folder / "mapping.yaml"
    mapping.write_text(MAPPING)
    best: dict[str, tuple[float, float]] = {}
    for number in range(wanted.rounds):
        handle: Any = broker.start_process() if kind == "tansu" else kafka.start_cluster(folder / f"kafka-{number}")
        url = handle.url if kind == "tansu" else handle.bootstrap
        try:
            create_topics(url, topics(PARTITIONS))
            for name, path in files.items():
                rate, cpu = run(path, mapping, url, wanted.processes, folder / "state")
                print(
                    f"{kind} round {number + 1}: {name:10} {rate:>9,.0f} events/s {cpu:>9,.0f} a CPU second", flush=True
                )
                best[name] = max(best.get(name, (0, 0)), (rate, cpu))
        finally:
            handle.stop()
    for name, (rate, cpu) in best.items():
        print(f"{kind:6} {name:10} best {rate:>9,.0f} events/s, {cpu:>9,.0f} a CPU second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", default=list(FORMATS), help=f"of {', '.join(FORMATS)}")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--broker", action="append", choices=("tansu", "apache"))
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        files = {one: folder / f"events.{one}" for one in wanted.formats}
        for one, path in files.items():
            FORMATS[one](path, wanted.count)
            print(f"{path.name}: {path.stat().st_size / 2**20:,.0f} MiB", flush=True)
        for kind in wanted.broker or ("tansu", "apache"):
            measure(kind, wanted, folder, files)


if __name__ == "__main__":
    main()
