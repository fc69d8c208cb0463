"""The embedded warehouse's outdated parts are gone soon; neither many parts nor many columns take many threads."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from deploy.embedded import warehouse
from schemas.clock import SystemClock
from sinks.warehouse import Warehouse
from tests.e2e.doors import eventually

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("door")]

PARTS = 300


def test_many_outdated_parts_are_removed_without_many_threads(tmp_path: Path) -> None:
    """Each thread keeps its stack and free blocks of memory for as long as the engine runs."""
    server = warehouse.start_process(tmp_path / "warehouse", clock=SystemClock())
    try:
        client = Warehouse(server.url)
        client.command("CREATE TABLE numbered (n UInt64) ENGINE = MergeTree ORDER BY n PARTITION BY n % 100")
        client.command("SYSTEM STOP MERGES numbered")
        for _ in range(PARTS // 100):
            client.command("INSERT INTO numbered SELECT number FROM numbers(1000)")
        before = psutil.Process(server.process.pid).num_threads()
        client.command("TRUNCATE TABLE numbered")
        left = "SELECT count() AS n FROM system.parts WHERE table = 'numbered'"
        eventually(lambda: int(client.query(left)[0]["n"]), lambda n: n == 0, within=60)
        assert psutil.Process(server.process.pid).num_threads() < before + 30
        client.close()
    finally:
        server.stop()


def test_many_columns_are_read_without_many_threads(tmp_path: Path) -> None:
    """Of its own accord the engine takes a thread for each column whose marks it does not know yet, up to fifty."""
    server = warehouse.start_process(tmp_path / "warehouse", clock=SystemClock())
    try:
        client = Warehouse(server.url)
        columns = ", ".join(f"c{n} String DEFAULT toString(n)" for n in range(60))
        settings = "min_rows_for_wide_part = 0, min_bytes_for_wide_part = 0"
        client.command(f"CREATE TABLE wide (n UInt64, {columns}) ENGINE = MergeTree ORDER BY n SETTINGS {settings}")
        client.command("INSERT INTO wide (n) SELECT number FROM numbers(20000)")
        before = psutil.Process(server.process.pid).num_threads()
        client.command("SYSTEM DROP MARK CACHE")
        client.query("SELECT sum(cityHash64(*)) AS n FROM wide")
        assert psutil.Process(server.process.pid).num_threads() < before + 20
        client.close()
    finally:
        server.stop()


def test_outdated_parts_are_removed_soon(tmp_path: Path) -> None:
    """Of its own accord the engine looks for them after 30 s at the earliest, and seldom after that."""
    server = warehouse.start_process(tmp_path / "warehouse", clock=SystemClock())
    try:
        client = Warehouse(server.url)
        client.command("CREATE TABLE numbered (n UInt64) ENGINE = MergeTree ORDER BY n")
        outdated = "SELECT count() AS n FROM system.parts WHERE table = 'numbered' AND NOT active"
        for _ in range(3):
            client.command("INSERT INTO numbered SELECT number FROM numbers(10)")
            client.command("OPTIMIZE TABLE numbered FINAL")
            eventually(lambda: int(client.query(outdated)[0]["n"]), lambda n: n == 0, within=20)
        client.close()
    finally:
        server.stop()


def test_large_merges_take_no_threads_that_stay(tmp_path: Path) -> None:
    """As a merge does that waits for the disk: a thread for each file that it wrote."""
    server = warehouse.start_process(tmp_path / "warehouse", clock=SystemClock())
    try:
        client = Warehouse(server.url)
        columns = ", ".join(f"c{n} String DEFAULT toString(n)" for n in range(60))
        settings = "min_rows_for_wide_part = 0, min_bytes_for_wide_part = 0, enable_vertical_merge_algorithm = 0"
        client.command(f"CREATE TABLE wide (n UInt64, {columns}) ENGINE = MergeTree ORDER BY n SETTINGS {settings}")
        for _ in range(2):
            client.command("INSERT INTO wide (n) SELECT number FROM numbers(60000)")
        before = psutil.Process(server.process.pid).num_threads()
        client.command("OPTIMIZE TABLE wide FINAL")
        assert psutil.Process(server.process.pid).num_threads() < before + 20
        client.close()
    finally:
        server.stop()
