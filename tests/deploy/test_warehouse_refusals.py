"""What the engine could not write was not inserted: the door must say so, or the worker would acknowledge it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.embedded.process import ServerHandle
from schemas.errors import Retryable
from sinks.warehouse import Warehouse

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("door")]

PETABYTE = 10**15


@pytest.fixture
def full(door: ServerHandle) -> Iterator[Warehouse]:
    """A warehouse with a table `full` that asks for more free space than there is."""
    warehouse = Warehouse(door.url)
    warehouse.command(
        "CREATE TABLE full (a Int64) ENGINE = MergeTree ORDER BY a"
        f" SETTINGS min_free_disk_bytes_to_perform_insert = {PETABYTE}"
    )
    yield warehouse
    warehouse.command("DROP TABLE full")


def test_an_insert_without_space_fails_and_is_tried_again(full: Warehouse) -> None:
    with pytest.raises(Retryable, match="243"):
        full.insert_lines("full", b'{"a":1}\n')
    assert full.query("SELECT count() AS n FROM full") == [{"n": 0}]
    full.command("ALTER TABLE full MODIFY SETTING min_free_disk_bytes_to_perform_insert = 0")
    full.insert_lines("full", b'{"a":1}\n')
    assert full.query("SELECT count() AS n FROM full") == [{"n": 1}]


def test_settings_may_stand_in_the_insert(full: Warehouse) -> None:
    full.command("ALTER TABLE full MODIFY SETTING min_free_disk_bytes_to_perform_insert = 0")
    full.command('INSERT INTO full (a) SETTINGS async_insert = 0 FORMAT JSONEachRow {"a":2}')
    assert full.query("SELECT a FROM full") == [{"a": 2}]
