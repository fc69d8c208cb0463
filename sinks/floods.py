"""Floods in the warehouse: where a consumer stopped, and whether somebody let it go on. Raises what the warehouse does.

A flood is `open` until an operator says `accepted` (what stood in Kafka by then goes to the dead letters) or `resumed`
(the cause is gone: judge again). The newest row of an id holds.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import xxhash

from schemas.clock import Clock
from schemas.flood import Flood
from sinks.warehouse import Warehouse

OPEN: Final = "open"
ACCEPTED: Final = "accepted"
RESUMED: Final = "resumed"
_NEWEST: Final = (
    "SELECT flood_id, topic, place, bad, seen, example, state, actor, toFloat64(stopped_at) AS stopped,"
    " toFloat64(changed_at) AS changed FROM floods FINAL"
)


class FloodRow(msgspec.Struct, frozen=True):
    """A row of `floods`. Times: Unix seconds."""

    flood_id: str
    topic: str
    place: str
    bad: int
    seen: int
    example: str
    state: str
    actor: str
    stopped_at: float
    changed_at: float
    version: int


class FloodBook:
    """Reads and writes floods. Every call blocks."""

    def __init__(self, warehouse: Warehouse, clock: Clock) -> None:
        self._warehouse, self._clock = warehouse, clock

    def record(self, flood: Flood) -> None:
        """Write down that a consumer stopped. The same place again is the same flood, open again."""
        name = f"{xxhash.xxh64_hexdigest(f'{flood.topic} {flood.place}'.encode())}"
        now = round(self._clock.now(), 3)
        row = FloodRow(
            name, flood.topic, flood.place, flood.bad, flood.seen, flood.example, OPEN, "", now, now, _version(now)
        )
        self._warehouse.insert_rows("floods", [row])

    def is_open(self, topic: str) -> bool:
        """Whether a consumer stopped at a flood of this topic and still stands."""
        return any(row.topic == topic for row in self.floods(open_only=True))

    def floods(self, *, open_only: bool = False) -> list[FloodRow]:
        """The floods of the last 13 months, the newest first."""
        where = f" WHERE state = '{OPEN}'" if open_only else ""
        rows = self._warehouse.query(f"{_NEWEST}{where} ORDER BY stopped_at DESC, flood_id LIMIT 1000")
        return [_row(row) for row in rows]

    def accepted_until(self) -> dict[str, float]:
        """By topic: when an operator last let a flood through (Unix seconds)."""
        found: dict[str, float] = {}
        for row in self.floods():
            if row.state == ACCEPTED:
                found[row.topic] = max(found.get(row.topic, 0.0), row.changed_at)
        return found

    def close(self, state: str, actor: str) -> list[FloodRow]:
        """Let all consumers go on that stand at a flood; the floods they stood at, as they are now."""
        now = round(self._clock.now(), 3)
        closed = [
            msgspec.structs.replace(row, state=state, actor=actor, changed_at=now, version=_version(now))
            for row in self.floods(open_only=True)
        ]
        self._warehouse.insert_rows("floods", closed)
        return closed


def _version(now: float) -> int:
    return int(now * 1000)


def _row(row: dict[str, Any]) -> FloodRow:
    texts = {name: row[name] for name in ("flood_id", "topic", "place", "example", "state", "actor")}
    bad, seen = int(row["bad"]), int(row["seen"])
    return FloodRow(**texts, bad=bad, seen=seen, stopped_at=row["stopped"], changed_at=row["changed"], version=0)
