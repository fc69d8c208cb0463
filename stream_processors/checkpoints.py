"""How far what is flushed covers what is stored: the rows of `checkpoints`, and swaps of tables for rebuilt ones."""

from __future__ import annotations

from stream_processors.ports import WarehousePort
from stream_processors.sql import text

SWAP = "swap"
"""Name of the row that says when tables were exchanged for rebuilt ones (its version), and from which moment on they
may lack what is stored."""


def last_swap(warehouse: WarehousePort) -> int:
    """The version of the last swap of tables for rebuilt ones; 0 when there was none. Raises `Retryable`."""
    return int(warehouse.query(f"SELECT max(version) AS at FROM checkpoints WHERE name = '{SWAP}'")[0]["at"])


def checkpoint_name(epoch: int) -> str:
    """Under which name a worker that loaded its state in an epoch says how far it has flushed: a worker that has not
    noticed the last swap yet must not say that the new tables are covered."""
    return f"processor@{epoch}" if epoch else "processor"


def covered_until(warehouse: WarehousePort, shard: str, epoch: int) -> float:
    """Unix seconds, by the warehouse's clock, up to which what is stored of a shard is flushed, too; 0 for never."""
    rows = warehouse.query(
        f"SELECT toFloat64(argMax(covered_until, (name != '{SWAP}', version))) AS at FROM checkpoints"
        f" WHERE (name = {text(checkpoint_name(epoch))} AND shard = {text(shard)})"
        f" OR (name = '{SWAP}' AND version = {epoch})"
    )
    return float(rows[0]["at"]) if rows else 0.0
