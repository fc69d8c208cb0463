"""The real engine in this process, behind the processors' warehouse port; one database a test."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import chdb

MIGRATIONS = Path(__file__).parents[2] / "sinks" / "migrations"
_names = (f"t{n}" for n in itertools.count())


@functools.cache
def _connect() -> Any:
    return chdb.connect(":memory:")


class ChdbWarehouse:
    """Each instance has a fresh database with all migrations applied."""

    def __init__(self) -> None:
        self.database = next(_names)
        self._chdb = _connect()
        self._chdb.query(f"CREATE DATABASE {self.database}")
        for path in sorted(MIGRATIONS.glob("*.sql")):
            code = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("--"))
            for statement in code.split(";"):
                if statement.strip():
                    self.command(statement)

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows; DateTime columns as Unix seconds, as the real client gives them."""
        self._chdb.query(f"USE {self.database}")
        answer = self._chdb.query(sql, "JSONCompactEachRowWithNamesAndTypes", params=dict(params or {}))
        lines = bytes(answer.bytes()).splitlines()
        if not lines:
            return []
        names, types, *rows = (json.loads(line) for line in lines)
        times = [n for n, kind in enumerate(types) if "DateTime" in kind]
        for row in rows:
            for n in times:
                row[n] = row[n] and datetime.fromisoformat(row[n]).replace(tzinfo=UTC).timestamp()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def query_bytes(self, sql: str, fmt: str) -> bytes:
        self._chdb.query(f"USE {self.database}")
        return bytes(self._chdb.query(sql, fmt).bytes())

    def insert_lines(self, table: str, ndjson: bytes) -> None:
        if not ndjson:
            return
        self._chdb.query(f"USE {self.database}")
        settings = "input_format_json_read_objects_as_strings=1, input_format_skip_unknown_fields=1, async_insert=0"
        with self._chdb.send_insert(f"INSERT INTO {table} SETTINGS {settings}", "JSONEachRow") as insert:
            insert.append(ndjson)
            insert.finish()

    def command(self, sql: str, params: Mapping[str, Any] | None = None) -> None:
        self._chdb.query(f"USE {self.database}")
        self._chdb.query(sql)

    def write(self, events: bytes, ledger: Any, rejected: Any, duplicates: bytes = b"") -> list[Any]:
        """The sink port, straight."""
        from schemas.wire import encode_lines

        self.insert_lines("events", events)
        self.insert_lines("duplicates", duplicates)
        self.insert_lines("ledger", encode_lines(ledger))
        self.insert_lines("rejected_events", encode_lines(rejected))
        return []
