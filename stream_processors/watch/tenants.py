"""Whose daily rounds there are, and which tenants are left alone for now."""

from __future__ import annotations

from stream_processors.ports import WarehousePort
from stream_processors.sql import moment, text

QUIET_SECONDS = 10.0
"""A tenant whose history is being filled in is left alone until it has been quiet for this long."""

ROUND_DELAY_SECONDS = 60.0
"""How long after midnight a day's round begins: events of its last seconds are on their way."""

OLD_SECONDS = 2 * 86400.0


def tenants(warehouse: WarehousePort) -> list[tuple[str, str]]:
    """Every tenant that has events, and its pack. Raises `Retryable`."""
    rows = warehouse.query("SELECT tenant, any(pack) AS pack FROM events WHERE tenant != '' GROUP BY tenant")
    return sorted((row["tenant"], row["pack"]) for row in rows)


def is_being_filled(warehouse: WarehousePort, tenant: str, now: float) -> bool:
    """Whether old events of a tenant were stored in the last seconds before `now` (Unix seconds)."""
    return bool(
        warehouse.query(
            f"SELECT 1 AS one FROM events WHERE tenant = {text(tenant)} AND timestamp < {moment(now - OLD_SECONDS)}"
            f" AND inserted_at >= {moment(now - QUIET_SECONDS)} LIMIT 1"
        )
    )
