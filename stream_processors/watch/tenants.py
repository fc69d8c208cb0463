"""Whose daily rounds there are, and which tenants are left alone for now."""

from __future__ import annotations

from stream_processors.ports import WarehousePort
from stream_processors.sql import moment, text, text_list

QUIET_SECONDS = 10.0
"""A tenant whose history is being filled in is left alone until it has been quiet for this long."""

ROUND_DELAY_SECONDS = 60.0
"""How long after midnight a day's round begins: events of its last seconds are on their way."""

OLD_SECONDS = 2 * 86400.0


class Tenants:
    """Every tenant that has events, or had some since this was made.

    Tenants come first in the order of `events`: that there is no other than those known is read from its index.
    """

    def __init__(self, warehouse: WarehousePort) -> None:
        self._warehouse = warehouse
        self._packs: dict[str, str] = {}

    def look(self) -> list[tuple[str, str]]:
        """All of them now, and the pack of each. Raises `Retryable`."""
        known = text_list(("", *self._packs))
        rows = self._warehouse.query(
            f"SELECT tenant, any(pack) AS pack FROM events WHERE tenant NOT IN {known} GROUP BY tenant"
        )
        self._packs.update((row["tenant"], row["pack"]) for row in rows)
        return sorted(self._packs.items())


def is_being_filled(warehouse: WarehousePort, tenant: str, now: float) -> bool:
    """Whether old events of a tenant were stored in the last seconds before `now` (Unix seconds)."""
    return bool(
        warehouse.query(
            f"SELECT 1 AS one FROM events WHERE tenant = {text(tenant)} AND timestamp < {moment(now - OLD_SECONDS)}"
            f" AND inserted_at >= {moment(now - QUIET_SECONDS)} LIMIT 1"
        )
    )
