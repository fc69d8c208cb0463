"""Packs, validators and a good event to vary."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.taxonomy import Pack, Rejection, Validator, load_pack, shipped_packs, validator

HERE = Path(__file__).parent
NOW = 1_769_860_801.0
"""One second after 2026-01-31T12:00:00Z, the time of every example."""

CAMPAIGN = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
ORDER = "9a8b7c6d-1234-4abc-8def-0123456789ab"
Check = Callable[..., "dict[str, Any] | Rejection"]


@pytest.fixture(scope="session")
def marketing() -> Pack:
    return shipped_packs()["marketing"]


@pytest.fixture(scope="session")
def tiny() -> Pack:
    return load_pack(HERE / "tiny.yaml")


@pytest.fixture(scope="session")
def checker(marketing: Pack) -> Validator:
    return validator(marketing)


@pytest.fixture
def purchase() -> dict[str, Any]:
    return {
        "event_id": "evt-1",
        "event_type": "user_purchased",
        "timestamp": "2026-01-31T12:00:00Z",
        "user_id": "user-1",
        "session_id": "session-1",
        "source": "backend",
        "properties": {"order_id": ORDER, "order_value": 59.99},
        "context": {"platform": "iOS", "user_segment": "HIGH_SPENDER"},
    }


@pytest.fixture
def check(checker: Validator, purchase: dict[str, Any]) -> Check:
    """Validate the purchase with fields replaced: `check(user_id="")`, `check({"order_value": -1})` for properties.

    The value `...` removes the field.
    """

    def run(properties: dict[str, Any] | None = None, /, *, backfill: bool = False, **fields: Any) -> Any:
        event = copy.deepcopy(purchase)
        for target, changes in ((event["properties"], properties or {}), (event, fields)):
            for name, value in changes.items():
                target[name] = value
                if value is ...:
                    del target[name]
        return checker.validate(event, received_at=NOW, backfill=backfill)

    return run
