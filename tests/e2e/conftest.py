"""What these tests share beside the stack: the simulated business, played once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.stack import Stack
from tests.e2e.played import Played, play


@pytest.fixture(scope="session")
def played(stack: Stack) -> Iterator[Played]:
    with play(stack) as found:
        yield found
