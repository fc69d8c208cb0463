"""A warehouse in memory with the real tables (kept for ever: tests have fixed dates), and a small pack of roles."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chdb
import pytest

from schemas.taxonomy.pack import EventRef

Rows = list[dict[str, Any]]
MIGRATIONS = Path(__file__).parents[3] / "sinks" / "migrations"

ROLES = {
    "activity": (EventRef("user_engaged", None), EventRef("campaign_viewed", "opened")),
    "purchase": (EventRef("user_purchased", None),),
    "session_start": (EventRef("user_engaged", "app_open"),),
    "signup": (EventRef("user_signed_up", None),),
    "impression": (EventRef("campaign_delivered", None),),
    "sent": (EventRef("message_sent", None),),
    "open": (EventRef("campaign_viewed", "opened"),),
    "message_open": (EventRef("message_opened", None),),
    "click": (EventRef("campaign_clicked", None),),
    "unsubscribe": (EventRef("user_unsubscribed", None),),
    "unsubscribe_all": (EventRef("user_unsubscribed", "all_campaigns"),),
}


class Memory:
    """`query(sql, params)` as the port wants it, and `insert` for lines."""

    def __init__(self) -> None:
        self._connection = chdb.connect(":memory:")
        for name in ("0001_events.sql", "0006_models.sql"):
            for statement in re.sub(r"--.*|\nTTL [^;\n]*", "", (MIGRATIONS / name).read_text()).split(";"):
                if statement.strip():
                    self._connection.query(statement)

    def query(self, sql: str, params: dict[str, Any] | None = None) -> Rows:
        answer = str(self._connection.query(sql, "JSONEachRow", params=params or {}))
        return [json.loads(line) for line in answer.splitlines()]

    def insert(self, table: str, rows: Rows) -> None:
        lines = "\n".join(json.dumps(row) for row in rows)
        self._connection.query(f"INSERT INTO {table} SETTINGS async_insert=0 FORMAT JSONEachRow {lines}")

    def close(self) -> None:
        for table in ("events", "predictions", "evaluations", "anomalies"):
            self._connection.query(f"DROP TABLE IF EXISTS {table}")
        self._connection.close()


@pytest.fixture
def warehouse() -> Iterator[Memory]:
    memory = Memory()
    yield memory
    memory.close()


@pytest.fixture
def roles() -> dict[str, tuple[EventRef, ...]]:
    return ROLES


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    def make(user: str, kind: str, at: float, **fields: Any) -> dict[str, Any]:
        make.count += 1  # type: ignore[attr-defined]
        base = {"tenant": "t", "event_id": f"e{make.count}", "event_type": kind, "user_id": user}  # type: ignore[attr-defined]
        return {**base, "timestamp": round(at, 3), "received_at": round(at, 3) + 1, **fields}

    make.count = 0  # type: ignore[attr-defined]
    return make
