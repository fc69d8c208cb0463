"""A warehouse with dead letters in it, and a pipeline in miniature behind the door that replays go through."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from deploy.dead_letters.office import Office, Rules
from deploy.dead_letters.store import LetterStore
from deploy.embedded.warehouse import start_process
from ingest.gateway import Verdict, Verdicts
from ingest.settings import GatewaySettings
from schemas.clock import ManualClock, SystemClock
from schemas.errors import Retryable
from schemas.taxonomy import Rejection, Validator, extra_columns, shipped_packs, validator
from schemas.wire import RejectedLine, encode_lines, slot_of
from sinks.migrate import migrate
from sinks.settings import WarehouseSettings
from sinks.warehouse import Warehouse

NOW = float(int(SystemClock().now()))
"""Of today: what is too old is dropped by the tables' TTL."""
DAY = 86400.0
ORDER = "9a8b7c6d-1234-4abc-8def-0123456789ab"

_numbers = itertools.count()


def purchase(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A good event; the value `...` takes a field away."""
    event = {
        "event_id": f"evt-{number}",
        "event_type": "user_purchased",
        "timestamp": NOW - 60,
        "user_id": f"user-{number}",
        "source": "backend",
        "properties": {"order_id": ORDER, "order_value": 59.99},
    } | fields
    return {name: value for name, value in event.items() if value is not ...}


def letter(event: Any, reason: str = "missing_field", index: int = 0, **fields: Any) -> RejectedLine:
    """The dead letter of an event (an object, or text as it came)."""
    known = event if isinstance(event, dict) else {}
    values = {
        "tenant": "demo",
        "received_at": NOW - 30,
        "reason": reason,
        "field": "user_id",
        "message": "is missing or null; send a value",
        "key_id": "hrw-1",
        "chunk": 7,
        "index": index,
        "event_id": str(known.get("event_id", "")),
        "event_type": str(known.get("event_type", "")),
        "original": event if isinstance(event, str) else json.dumps(event),
    } | fields
    return RejectedLine(**values)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    handle = start_process(tmp_path_factory.mktemp("dead") / "warehouse")
    yield handle.url
    handle.stop()


@pytest.fixture(scope="module")
def tables(server: str) -> Iterator[Warehouse]:
    """A database for the tests of a module, which empty what they fill."""
    warehouse = Warehouse(WarehouseSettings(url=f"{server}/dead_{next(_numbers)}"))
    migrate(warehouse, ManualClock(), {name: extra_columns(pack) for name, pack in shipped_packs().items()})
    yield warehouse
    warehouse.close()


@pytest.fixture
def warehouse(tables: Warehouse) -> Warehouse:
    for table in ("rejected_events", "dead_letter_state", "events"):
        tables.command(f"TRUNCATE TABLE {table}")
    return tables


class MiniPipeline:
    """Takes events as the gateway does, and stores what is accepted at once. `away`: so many calls fail first."""

    def __init__(self, warehouse: Warehouse, rules: Mapping[str, Validator]) -> None:
        self.warehouse, self.rules, self.away = warehouse, rules, 0
        self.calls: list[dict[str, Any]] = []
        self.published: list[tuple[str, Mapping[str, Any]]] = []
        self.stores = True

    def submit(
        self,
        tenant: str,
        events: Sequence[object],
        *,
        backfill: bool = False,
        pack: str = "",
        key_id: str = "",
        receipts: Sequence[float] | None = None,
    ) -> Verdicts:
        if self.away:
            self.away -= 1
            raise Retryable("Kafka is away")
        self.calls.append({"tenant": tenant, "key_id": key_id, "backfill": backfill, "events": list(events)})
        rejected: list[Verdict] = []
        for index, event in enumerate(events):
            at = receipts[index] if receipts else NOW
            line = self.rules[pack].validate(event, received_at=at, backfill=backfill)
            if isinstance(line, Rejection):
                rejected.append(Verdict(index=index, **_texts(line)))
            elif self.stores:
                line |= {
                    "tenant": tenant,
                    "key_id": key_id,
                    "received_at": NOW,
                    "slot": slot_of(tenant, "u"),
                    "chunk": 9,
                }
                self.warehouse.insert_lines("events", json.dumps(line).encode() + b"\n")
        return Verdicts(len(events) - len(rejected), rejected)

    def publish(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Audit events, which must be such as the pack declares."""
        for event in events:
            found = self.rules["marketing"].validate(event, received_at=NOW)
            assert isinstance(found, dict), found
            assert "extra" not in found
            self.published.append((tenant, event))


def _texts(rejection: Rejection) -> dict[str, Any]:
    texts = {"event_id": rejection.event_id, "field": rejection.field, "message": rejection.message}
    return {**texts, "reason": str(rejection.reason)}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture(scope="session")
def rules() -> dict[str, Validator]:
    return {name: validator(pack) for name, pack in shipped_packs().items()}


@pytest.fixture
def door(warehouse: Warehouse, rules: dict[str, Validator]) -> MiniPipeline:
    return MiniPipeline(warehouse, rules)


@pytest.fixture
def office(warehouse: Warehouse, rules: dict[str, Validator], door: MiniPipeline, clock: ManualClock) -> Office:
    judged = Rules(rules, lambda tenant: "marketing", GatewaySettings())
    return Office(LetterStore(warehouse), judged, clock, lambda: door, "operators")


@pytest.fixture
def put(warehouse: Warehouse) -> Callable[..., None]:
    """Store dead letters as the worker does."""

    def put(*lines: RejectedLine) -> None:
        warehouse.insert_lines("rejected_events", encode_lines(lines))

    return put
