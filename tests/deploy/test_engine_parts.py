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


def test_outdated_parts_are_removed_soon_and_what_replaced_them_is_on_the_disk(tmp_path: Path) -> None:
    """Of its own accord the engine looks for them after 30 s at the earliest, and seldom after that."""
    server = warehouse.start_process(tmp_path / "warehouse", clock=SystemClock())
    try:
        client = Warehouse(server.url)
        client.command("CREATE TABLE numbered (n UInt64) ENGINE = MergeTree ORDER BY n")
        outdated = "SELECT count() AS n FROM system.parts WHERE table = 'numbered' AND NOT active"
        synced = "SELECT sum(value) AS n FROM system.events WHERE event = 'FileSync'"
        for rows in (10, 10, 200_000):
            before = int(client.query(synced)[0]["n"])
            client.command(f"INSERT INTO numbered SELECT number FROM numbers({rows})")
            client.command("OPTIMIZE TABLE numbered FINAL")
            assert (int(client.query(synced)[0]["n"]) > before) == (rows > 100_000)
            eventually(lambda: int(client.query(outdated)[0]["n"]), lambda n: n == 0, within=20)
        client.close()
    finally:
        server.stop()
