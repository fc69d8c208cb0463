"""One embedded warehouse for the module's tests, and a fresh database for each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded import warehouse
from deploy.settings import Settings
from tests.deploy_replay.support import settings_of

_numbers = itertools.count()


@pytest.fixture(scope="session")
def warehouse_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    handle = warehouse.start_process(tmp_path_factory.mktemp("replay") / "warehouse")
    yield handle.url
    handle.stop()


@pytest.fixture
def settings(warehouse_url: str, tmp_path: Path) -> Settings:
    return settings_of(warehouse_url, f"live{next(_numbers)}", tmp_path)
