"""The embedded warehouse's outdated parts are gone soon; neither many parts nor many columns take many threads; a
large part is not written anew for each small one; and sizes of past groupings are not kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.embedded import warehouse
from deploy.embedded.process import ServerHandle
from schemas.clock import SystemClock
from sinks.warehouse import Warehouse
from tests.e2e.doors import eventually

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("door")]

PARTS = 300
A_FEW = 20
"""Threads more than before: those that answered, and what the engine keeps of them."""


class House:
    """A warehouse in a process of its own, and how many threads that has."""

    def __init__(self, server: ServerHandle) -> None:
        self.client, self._process = Warehouse(server.url), psutil.Process(server.process.pid)

    def threads(self) -> int:
        return self._process.num_threads()

    def make_wide(self, settings: str = "") -> None:
        """A table of 61 columns, each with files of its own."""
        columns = ", ".join(f"c{n} String DEFAULT toString(n)" for n in range(60))
        self.client.command(
            f"CREATE TABLE wide (n UInt64, {columns}) ENGINE = MergeTree ORDER BY n"
            f" SETTINGS min_rows_for_wide_part = 0, min_bytes_for_wide_part = 0{settings}"
        )


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    server = warehouse.start_process(tmp_path / "warehouse", clock=SystemClock())
    try:
        house = House(server)
        yield house
        house.client.close()
    finally:
        server.stop()


def test_many_outdated_parts_are_removed_without_many_threads(house: House) -> None:
    """Each thread keeps its stack and free blocks of memory for as long as the engine runs."""
    house.client.command("CREATE TABLE numbered (n UInt64) ENGINE = MergeTree ORDER BY n PARTITION BY n % 100")
    house.client.command("SYSTEM STOP MERGES numbered")
    for _ in range(PARTS // 100):
        house.client.command("INSERT INTO numbered SELECT number FROM numbers(1000)")
    before = house.threads()
    house.client.command("TRUNCATE TABLE numbered")
    left = "SELECT count() AS n FROM system.parts WHERE table = 'numbered'"
    eventually(lambda: int(house.client.query(left)[0]["n"]), lambda n: n == 0, within=60)
    assert house.threads() < before + A_FEW


def test_outdated_parts_are_removed_soon(house: House) -> None:
    """Of its own accord the engine looks for them after 30 s at the earliest, seldom later, and takes all it finds.

    They stay for a quarter of a minute, in which a full disk is noticed that damaged what they were merged to.
    """
    house.client.command("CREATE TABLE numbered (n UInt64) ENGINE = MergeTree ORDER BY n")
    outdated = "SELECT count() AS n FROM system.parts WHERE table = 'numbered' AND NOT active"
    for _ in range(2):
        house.client.command("INSERT INTO numbered SELECT number FROM numbers(10)")
        house.client.command("OPTIMIZE TABLE numbered FINAL")
        time.sleep(8)
        assert int(house.client.query(outdated)[0]["n"]) > 0
        eventually(lambda: int(house.client.query(outdated)[0]["n"]), lambda n: n == 0, within=25)


def test_many_columns_are_read_without_many_threads(house: House) -> None:
    """Of its own accord the engine takes a thread for each column whose marks it does not know yet, up to fifty."""
    house.make_wide()
    house.client.command("INSERT INTO wide (n) SELECT number FROM numbers(20000)")
    before = house.threads()
    house.client.command("SYSTEM DROP MARK CACHE")
    house.client.query("SELECT sum(cityHash64(*)) AS n FROM wide")
    assert house.threads() < before + A_FEW


def test_large_merges_take_no_threads_that_stay(house: House) -> None:
    """As a merge does that waits for the disk: a thread for each file that it wrote."""
    house.make_wide(", enable_vertical_merge_algorithm = 0")
    for _ in range(2):
        house.client.command("INSERT INTO wide (n) SELECT number FROM numbers(60000)")
    before = house.threads()
    house.client.command("OPTIMIZE TABLE wide FINAL")
    assert house.threads() < before + A_FEW


def test_a_large_part_is_not_written_anew_with_each_insert(house: House) -> None:
    """As the engine does it of its own accord: it is to take five small parts at a time."""
    large, inserts = 150_000, 40
    merged = "SELECT sum(value) AS n FROM system.events WHERE event = 'MergedRows'"
    row = "SELECT 'acme', number, toString(number % 7), number % 50 FROM"

    def merged_rows(table: str, settings: str = "") -> int:
        columns = "tenant LowCardinality(String), origin UInt64, stage LowCardinality(String), n UInt64"
        house.client.command(f"CREATE TABLE {table} ({columns}) ENGINE = MergeTree ORDER BY origin {settings}")
        house.client.command(f"INSERT INTO {table} {row} numbers({large})")
        before = int(house.client.query(merged)[0]["n"])
        for number in range(inserts):
            house.client.command(f"INSERT INTO {table} {row} numbers({large + number * 12}, 12)")
            time.sleep(0.05)  # for a merge to begin, which nothing tells
        return int(house.client.query(merged)[0]["n"]) - before

    assert 0 < merged_rows("ours") < large * inserts / 3
    own = "merge_selector_enable_heuristic_to_remove_small_parts_at_right = 1"
    assert merged_rows("as_it_is", f"SETTINGS {own}") > large * inserts / 3, "the engine would not do so"


def test_sizes_of_past_groupings_are_not_kept(house: House) -> None:
    """Of its own accord the engine keeps one for each text of a query, and so makes the next table large at once."""
    house.client.command("CREATE TABLE numbered (n UInt64) ENGINE = MergeTree ORDER BY tuple()")
    house.client.command("INSERT INTO numbered SELECT number FROM numbers(1000000)")
    grouping = "SELECT n, count() AS of_it FROM numbered GROUP BY n ORDER BY of_it LIMIT 1"
    used = "SELECT count() AS n FROM system.events WHERE event = 'AggregationPreallocatedElementsInHashTables'"

    def is_used(settings: dict[str, int]) -> bool:
        for _ in range(2):
            house.client.query(grouping, settings=settings)
        return int(house.client.query(used)[0]["n"]) > 0

    assert not is_used({})
    assert is_used({"collect_hash_table_stats_during_aggregation": 1}), "the engine would tell if it kept them"
