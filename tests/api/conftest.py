"""One embedded warehouse for all tests of this folder; each test has a tenant of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from api.reader import ClickHouseReader
from api.settings import ReaderSettings
from deploy.embedded import warehouse
from schemas.clock import ManualClock, SystemClock
from schemas.taxonomy import Pack, extra_columns, shipped_packs
from sinks.migrate import migrate
from sinks.warehouse import Warehouse
from tests.api.world import NOW, Event, lines

_tenants = itertools.count()


@pytest.fixture(scope="session")
def packs() -> dict[str, Pack]:
    return shipped_packs()


@pytest.fixture(scope="session")
def pack(packs: dict[str, Pack]) -> Pack:
    return packs["marketing"]


@pytest.fixture(scope="session")
def warehouse_url(tmp_path_factory: pytest.TempPathFactory, packs: dict[str, Pack]) -> Iterator[str]:
    server = warehouse.start_process(tmp_path_factory.mktemp("api") / "warehouse")
    try:
        client = Warehouse(server.url)
        migrate(client, SystemClock(), {name: extra_columns(one) for name, one in packs.items()})
        client.close()
        yield server.url
    finally:
        server.stop()


@pytest.fixture(scope="session")
def store(warehouse_url: str) -> Iterator[Warehouse]:
    client = Warehouse(warehouse_url)
    yield client
    client.close()


@pytest.fixture(scope="session")
def reader(warehouse_url: str) -> Iterator[ClickHouseReader]:
    opened = ClickHouseReader(ReaderSettings(url=warehouse_url, max_rows=5_000))
    yield opened
    opened.close()


@pytest.fixture
def tenant() -> str:
    return f"tenant-{next(_tenants)}"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def insert(store: Warehouse, pack: Pack) -> Callable[[str, list[Event]], None]:
    """Stores events of a tenant as the path would."""

    def put(tenant: str, events: list[Event]) -> None:
        store.insert_lines("events", lines(events, pack, tenant))

    return put
