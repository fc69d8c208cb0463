"""Putting a replay's tables in the place of the live ones, while workers write.

One statement exchanges all of them (`EXCHANGE TABLES a AND b, …`), each atomically; rows outside the span were copied
beforehand. With `windows` or `user_state` goes `checkpoints`, in which one row says that a swap took place and from
which moment on events may be missing in the new tables. A worker that sees it (within seconds, or when it starts)
forgets what it remembers and recomputes all that changed since that moment from the stored events, exactly as after a
crash. So nothing is lost that came in while the replay ran, and nothing comes back that a worker remembered.

On failure: a plan with the identities of the tables stands in the replay's database before the exchange begins. The
next `headrace replay` finishes what it says when any table was exchanged, and forgets it when none was.
"""

from __future__ import annotations

import json
from typing import Final

from deploy.replay.hashes import in_span
from deploy.replay.request import Request
from deploy.replay.shadow import Shadow, databases
from schemas.errors import Permanent
from sinks.warehouse import Warehouse
from stream_processors.checkpoints import SWAP
from stream_processors.sql import moment, text

PLAN: Final = "swap_plan"
STREAMED: Final = ("windows", "user_state")
"""Tables that workers keep in memory."""

_LATER: Final = {"predictions": "as_of", "evaluations": "as_of", "anomalies": "detected_at"}
"""Tables that the watcher writes, and when a row was made: what came between copy and exchange is copied after it."""

_BEFORE_SECONDS: Final = 2 * 86_400
"""How far back rows are looked at again: the day that a round is about ends before the round."""


class Swap:
    """One swap: `prepare`, then `commit`. `since`: when the replay looked at the events, by the warehouse's clock."""

    def __init__(self, shadow: Shadow, request: Request, since: float) -> None:
        self._shadow, self._request, self._since = shadow, request, since
        self._live = shadow.live

    def prepare(self) -> None:
        """Copy what is not replaced, and write the plan. May be repeated; nothing live changes."""
        if "events" in self._request.tables:
            raise Permanent("events cannot be swapped: the live table takes new ones; leave them out of --what")
        for table in self._request.tables:
            self._live.command(self._carry(table, ""))
        tables = [*self._request.tables]
        if any(table in STREAMED for table in tables):
            tables.append("checkpoints")
            self._mark()
        self._plan(tables)

    def commit(self) -> None:
        """Exchange the tables, and finish."""
        tables = list(_planned(self._live, self._shadow.database))
        _exchange(self._live, self._shadow.database, tables)
        finish_swap(self._live, self._shadow.database)

    def _carry(self, table: str, more: str) -> str:
        live, made = f"{self._live.database}.{table}", f"{self._shadow.database}.{table}"
        if table == "user_state":
            kept = (
                "0" if self._request.span.is_whole else f"(tenant, user_id) NOT IN (SELECT tenant, user_id FROM {made})"
            )
        else:
            kept = f"NOT {in_span(table, self._request.span)}"
        return f"INSERT INTO {made} SELECT * FROM {live} FINAL WHERE {kept}{more}"

    def _mark(self) -> None:
        made = f"{self._shadow.database}.checkpoints"
        self._live.command(f"TRUNCATE TABLE {made}")
        self._live.command(
            f"INSERT INTO {made} (name, shard, covered_until, version) SELECT {text(SWAP)}, '',"
            f" toDateTime64({self._since:.3f}, 3, 'UTC'), toUnixTimestamp64Milli(now64(3))"
        )

    def _plan(self, tables: list[str]) -> None:
        place = f"{self._shadow.database}.{PLAN}"
        self._live.command(
            f"CREATE OR REPLACE TABLE {place} (name String, uuid String, again String) ENGINE = MergeTree ORDER BY name"
        )
        rows = [
            {"name": table, "uuid": _identity(self._live, self._live.database, table), "again": self._again(table)}
            for table in tables
        ]
        self._shadow.warehouse.insert_lines(PLAN, b"".join(json.dumps(row).encode() + b"\n" for row in rows))

    def _again(self, table: str) -> str:
        """The copy to be made once more after the exchange, when the old rows lie in the replay's database."""
        if table not in _LATER:
            return ""
        live, made = f"{self._live.database}.{table}", f"{self._shadow.database}.{table}"
        since = f"{_LATER[table]} >= {moment(int(self._since) - _BEFORE_SECONDS)}"
        return (
            f"INSERT INTO {live} SELECT * FROM {made} FINAL WHERE NOT {in_span(table, self._request.span)} AND {since}"
        )


def finish_swaps(live: Warehouse) -> list[str]:
    """Finish, or forget, every swap that a crash cut off; a line about each."""
    found = []
    for database in databases(live):
        planned = _planned(live, database)
        if not planned:
            continue
        waiting = [name for name, identity in planned.items() if _identity(live, live.database, name) == identity]
        if len(waiting) == len(planned):
            live.command(f"DROP TABLE {database}.{PLAN} SYNC")
            found.append(f"{database}: was not swapped, the tables are the old ones")
            continue
        _exchange(live, database, waiting)
        finish_swap(live, database)
        found.append(f"{database}: the swap is finished")
    return found


def finish_swap(live: Warehouse, database: str) -> None:
    """What comes after the exchange; may be repeated."""
    for row in live.query(f"SELECT again FROM {database}.{PLAN} WHERE again != '' ORDER BY name"):
        live.command(str(row["again"]))
    live.command(f"DROP TABLE {database}.{PLAN} SYNC")


def _exchange(live: Warehouse, database: str, tables: list[str]) -> None:
    if tables:
        pairs = ", ".join(f"{live.database}.{table} AND {database}.{table}" for table in tables)
        live.command(f"EXCHANGE TABLES {pairs}")


def _planned(live: Warehouse, database: str) -> dict[str, str]:
    """Table to the identity that the live one had; `checkpoints` last. Empty when there is no plan."""
    if not live.query(f"SELECT 1 AS one FROM system.tables WHERE database = {text(database)} AND name = {text(PLAN)}"):
        return {}
    rows = live.query(f"SELECT name, uuid FROM {database}.{PLAN} ORDER BY name = 'checkpoints', name")
    return {str(row["name"]): str(row["uuid"]) for row in rows}


def _identity(live: Warehouse, database: str, table: str) -> str:
    rows = live.query(
        f"SELECT toString(uuid) AS uuid FROM system.tables WHERE database = {text(database)} AND name = {text(table)}"
    )
    return str(rows[0]["uuid"]) if rows else ""
