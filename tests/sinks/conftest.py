"""A real warehouse for these tests: the embedded one, with a database of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from deploy.embedded.warehouse import start_process
from schemas.clock import ManualClock
from sinks.migrate import migrate
from sinks.settings import WarehouseSettings
from sinks.warehouse import Warehouse

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a running warehouse."""
    handle = start_process(tmp_path_factory.mktemp("sinks") / "warehouse")
    yield handle.url
    handle.stop()


@pytest.fixture
def empty(server: str) -> Iterator[Warehouse]:
    """A warehouse whose database does not exist yet."""
    warehouse = Warehouse(WarehouseSettings(url=f"{server}/sinks_{next(_numbers)}"))
    yield warehouse
    warehouse.close()


@pytest.fixture
def warehouse(empty: Warehouse) -> Warehouse:
    """A warehouse with all tables."""
    migrate(empty, ManualClock())
    return empty
