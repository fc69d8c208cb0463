"""Fixtures of the collector's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ingest.settings import CollectorSettings
from schemas.clock import ManualClock
from schemas.keys import KeyStore
from tests.ingest.support import NOW, Door, FakeKafka, MakeDoor, make_door


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka()


@pytest.fixture
async def open_door(clock: ManualClock, kafka: FakeKafka) -> AsyncIterator[MakeDoor]:
    doors: list[Door] = []

    def open_with(settings: CollectorSettings | None = None, keys: KeyStore | None = None) -> Door:
        store = keys or KeyStore(None, clock, dev_keys=True)
        doors.append(make_door(store, clock, kafka, settings or CollectorSettings()))
        return doors[-1]

    yield open_with
    kafka.mode = "ok"
    for door in doors:
        await door.collector.gateway.close()


@pytest.fixture
def door(open_door: MakeDoor) -> Door:
    return open_door()
