"""Readings of floods of bad messages: how many a consumer stands at, and what came."""

from __future__ import annotations

from typing import Any, Final

from stream_processors.ports import WarehousePort

SIGNAL: Final = "open_floods"
_SHOWN: Final = 5
COMMAND: Final = "headrace dead-letters flood"


def open_floods(warehouse: WarehousePort) -> tuple[int, dict[str, Any]]:
    """How many floods are open, and the evidence. Raises what the warehouse raises."""
    rows = warehouse.query(
        "SELECT topic, place, bad, seen, example, toFloat64(stopped_at) AS stopped FROM floods FINAL"
        " WHERE state = 'open' ORDER BY stopped_at DESC LIMIT 100"
    )
    return len(rows), {"floods": [dict(row) for row in rows[:_SHOWN]], "look": COMMAND, "go_on": f"{COMMAND} --resume"}
