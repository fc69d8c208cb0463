"""What small inserts cost the embedded warehouse beside a large part: `python benchmarks/merges.py`.

Ten inserts a second of twelve rows each into a ledger that is there already, by its number of rows: with merges as the
engine chooses them of its own accord, and as `deploy.embedded.engine` lets it. Prints rows merged a second, user and
system time in seconds a second, the most parts there were, and the milliseconds of a question that reads it FINAL.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deploy.embedded.engine import Engine

PAUSE = 0.1
"""Seconds between two inserts."""
MINUTE_ROWS = 2_300
"""Rows of the ledger a minute, as in the soak."""
STAGES = ("received", "accepted", "duplicate")
QUESTIONS = 50
OWN = " SETTINGS merge_selector_enable_heuristic_to_remove_small_parts_at_right = 1"


def measure(engine: Engine, table: str, rows: int, seconds: float, settings: str) -> str:
    """One line of the answer."""
    ledger = (Path(__file__).resolve().parents[1] / "sinks" / "migrations" / "0003_ledger.sql").read_text()
    engine.command(ledger.replace(" ledger\n", f" {table}\n", 1).strip().rstrip(";") + settings)
    engine.command(
        f"INSERT INTO {table}"
        f" SELECT 'acme', toDateTime('2026-11-01 00:00:00', 'UTC') + intDiv(number, {MINUTE_ROWS}) * 60,"
        f" {list(STAGES)}[1 + number % 3], '', intDiv(number, 3), cityHash64(number) % 50, 1 FROM numbers({rows})"
    )
    engine.command(f"OPTIMIZE TABLE {table} FINAL")
    merged, before, began = _merged(engine), resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    most, inserts, chance = 0, 0, random.Random(3)  # parts of the very same size are merged among themselves
    while (now := time.monotonic() - began) < seconds:
        values = (
            f"('acme', '2026-11-20 00:00:00', '{stage}', '', {rows + inserts * 4 + n}, {chance.randint(10, 60)}, 1)"
            for n in range(4)
            for stage in STAGES
        )
        engine.command(f"INSERT INTO {table} VALUES {', '.join(values)}")
        inserts += 1
        if inserts % 10 == 0:
            most = max(most, _parts(engine, table))
        time.sleep(max(0.0, began + inserts * PAUSE - time.monotonic()))
    after = resource.getrusage(resource.RUSAGE_SELF)
    user, system = (after.ru_utime - before.ru_utime) / now, (after.ru_stime - before.ru_stime) / now
    merged_rate = (_merged(engine) - merged) / now
    asked = time.monotonic()
    for _ in range(QUESTIONS):
        engine.command(f"SELECT stage, sum(n) FROM {table} FINAL WHERE tenant = 'acme' GROUP BY stage")
    took = (time.monotonic() - asked) / QUESTIONS * 1000
    engine.command(f"DROP TABLE {table} SYNC")
    return (
        f"{rows:>9,} rows  merged/s {merged_rate:>10,.0f}  user {user:.2f}  system {system:.2f}"
        f"  parts {most:>2}  FINAL {took:.0f} ms"
    )


def _merged(engine: Engine) -> int:
    return int(engine.command("SELECT sum(value) FROM system.events WHERE event = 'MergedRows'")[0][0])


def _parts(engine: Engine, table: str) -> int:
    return int(engine.command(f"SELECT count() FROM system.parts WHERE active AND table = '{table}'")[0][0])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[2_000, 30_000, 150_000, 250_000, 1_000_000])
    options.add_argument("--seconds", type=float, default=20.0)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Path(folder), memory_bytes=2 << 30)
        for rows in chosen.rows:
            print("engine's own", measure(engine, "own", rows, chosen.seconds, OWN), flush=True)
            print("warehouse's ", measure(engine, "ours", rows, chosen.seconds, ""), flush=True)
        engine.close()


if __name__ == "__main__":
    main()
