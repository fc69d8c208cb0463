"""Reading stored incidents, so that a restart neither raises again nor forgets."""

from __future__ import annotations

from typing import Any, Final

from schemas.alerting.incident import AlertRow
from stream_processors.ports import WarehousePort

REMEMBER_SECONDS: Final = 7 * 86400.0
"""Resolved incidents of this long ago are read too: a person's decision holds, and an old reading is recognised."""

_SQL: Final = f"""
SELECT {", ".join(AlertRow.__struct_fields__)}
FROM alerts FINAL
WHERE state != 'resolved' OR resolved_at >= fromUnixTimestamp64Milli({{since:Int64}})
ORDER BY raised_at"""


def stored_incidents(warehouse: WarehousePort, now: float) -> list[dict[str, Any]]:
    """Rows for `AlertEngine.restore`. `now`: Unix seconds. Raises `Retryable` when the warehouse is away."""
    return warehouse.query(_SQL, {"since": int((now - REMEMBER_SECONDS) * 1000)})
