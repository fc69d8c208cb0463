"""How far what is flushed covers what is stored: the rows of `checkpoints`, and swaps of tables for rebuilt ones."""

from __future__ import annotations

import msgspec

from stream_processors.ports import WarehousePort
from stream_processors.sql import text

SWAP = "swap"
"""Name of the row that says when tables were exchanged for rebuilt ones (its version), and from which moment on they
may lack what is stored."""

REBUILD = "rebuild"
"""Name of the row that wants rollups counted anew: of the tenant that the shard names, or of all."""


class CheckpointRow(msgspec.Struct, frozen=True):
    """A row of `checkpoints`. `covered_until`: Unix seconds, by inserted_at."""

    name: str
    shard: str
    covered_until: float
    version: int


def last_swap(warehouse: WarehousePort) -> int:
    """The version of the last swap of tables for rebuilt ones; 0 when there was none. Raises `Retryable`."""
    return int(warehouse.query(f"SELECT max(version) AS at FROM checkpoints WHERE name = '{SWAP}'")[0]["at"])


def last_rebuild(warehouse: WarehousePort, tenant: str) -> int:
    """The version of the last wish to have a tenant's rollups counted anew; 0 for none. Raises `Retryable`."""
    shards = f"('', {text(tenant)})"
    sql = f"SELECT max(version) AS at FROM checkpoints WHERE name = '{REBUILD}' AND shard IN {shards}"
    return int(warehouse.query(sql)[0]["at"])


def rebuild_row(tenant: str | None, version: int) -> CheckpointRow:
    """Such a wish, for a tenant or for all."""
    return CheckpointRow(REBUILD, tenant or "", 0.0, version)


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
