"""One embedded warehouse and one broker for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.embedded import broker, warehouse
from deploy.embedded.process import ServerHandle


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHandle]:
    """A warehouse process."""
    handle = warehouse.start_process(tmp_path_factory.mktemp("door") / "data", memory_mb=1024)
    yield handle
    handle.stop()


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHandle]:
    """A broker process."""
    handle = broker.start_process(log_path=tmp_path_factory.mktemp("broker") / "broker.log")
    yield handle
    handle.stop()
