"""Every model keeps every promise of `online_models.contract`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from model_cases import CASES
from model_checks import CHECKS, Case


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", CASES)
def test_model_keeps_its_promise(name: str, check: Callable[[Case], None]) -> None:
    check(CASES[name])
