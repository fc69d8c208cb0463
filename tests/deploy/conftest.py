"""One embedded warehouse for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.embedded import warehouse
from deploy.embedded.process import ServerHandle


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerHandle]:
    """A warehouse process."""
    handle = warehouse.start_process(tmp_path_factory.mktemp("door") / "data", memory_mb=1024)
    yield handle
    handle.stop()
