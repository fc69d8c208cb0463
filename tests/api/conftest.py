"""One embedded warehouse for all tests of this folder; each test has a tenant of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.reader import ClickHouseReader
from api.settings import ApiSettings, LiveSettings, ReaderSettings
from deploy.embedded import warehouse
from schemas.clock import ManualClock, SystemClock
from schemas.keys import KeyStore, Kind, Role, create_key
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


@dataclass
class Site:
    """An app over the real engine, with keys for tenants and a record of what it published."""

    app: FastAPI
    keys: Path
    clock: ManualClock
    published: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refuse: Exception | None = None

    async def publish(self, tenant: str, events: Sequence[dict[str, Any]]) -> None:
        if self.refuse:
            raise self.refuse
        self.published += [(tenant, event) for event in events]

    def client(self, tenant: str = "", role: Role = Role.ADMIN, kind: Kind = Kind.SECRET) -> httpx.AsyncClient:
        """A client with a new key of `tenant`; without one where it is empty."""
        headers = {}
        if tenant:
            secret_role = role if kind is Kind.SECRET else None
            _, secret = create_key(self.keys, self.clock, kind=kind, tenant=tenant, pack="marketing", role=secret_role)
            headers["Authorization"] = f"Bearer {secret}"
            self.clock.advance(1.5)  # the key store looks at its file once a second
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://api", headers=headers)


@pytest.fixture
def settings(tmp_path: Path) -> ApiSettings:
    return ApiSettings(
        live=LiveSettings(interval_seconds=0.05, heartbeat_seconds=0.3, max_subscribers=3, buffer=64),
        static_dir=tmp_path / "static",
        max_buckets=2_000,
        cache_seconds=0,  # tests store and ask again at one moment of their clock
    )


@pytest.fixture
def site(
    settings: ApiSettings, reader: ClickHouseReader, packs: dict[str, Pack], clock: ManualClock, tmp_path: Path
) -> Site:
    keys = tmp_path / "keys.json"
    holder: list[Site] = []

    async def publish(tenant: str, events: Sequence[dict[str, Any]]) -> None:
        await holder[0].publish(tenant, events)

    app = create_app(settings, reader=reader, keys=KeyStore(keys, clock), publish=publish, packs=packs, clock=clock)
    holder.append(Site(app, keys, clock))
    return holder[0]
