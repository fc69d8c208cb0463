"""How far a long read has come: its statements carry a label, by which the warehouse lists them while they run."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final

from api.reader import Params, QueryFailed, Reader, Row
from api.slices import Binder

_NOT_DONE: Final = 99.0
"""Percent that is told at most: the total is an estimate."""


def label(what: str, tenant: str, asked: Iterable[tuple[str, str]]) -> str:
    """The same for the same question of a tenant, in any order of its parameters; tells nothing of either."""
    told = repr((tenant, sorted(asked))).encode()
    return f"{what}:{blake2b(told, digest_size=16).hexdigest()}"


class Labelled:
    """A reader whose statements carry a label."""

    def __init__(self, inner: Reader, name: str) -> None:
        self._inner, self._name = inner, name

    async def rows(self, sql: str, params: Params) -> list[Row]:
        """See `Reader`."""
        return await self._inner.rows(f"{sql} /* {self._name} */", params)

    async def ping(self) -> bool:
        """See `Reader`."""
        return await self._inner.ping()


async def progress(reader: Reader, name: str) -> dict[str, Any]:
    """Rows read of those to be read, and seconds since it began, over all statements of a label that run now.

    `running` is null where the warehouse does not let its queries be seen. Raises what the reader raises.
    """
    bind = Binder()
    sql = (
        "SELECT count(), sum(read_rows), sum(total_rows_approx), max(elapsed) FROM system.processes "
        f"WHERE position(query, concat('/* ', {bind(name)}, ' */')) > 0"
    )
    try:
        ((running, read, total, seconds),) = await reader.rows(sql, bind.params)
    except QueryFailed:
        running, read, total, seconds = None, 0, 0, 0.0
    read, total = int(read), int(total)
    return {
        "running": None if running is None else running > 0,
        "rows_read": read,
        "rows_total": total or None,
        "percent": min(_NOT_DONE, round(100 * read / total, 1)) if total else None,
        "elapsed_seconds": round(float(seconds), 3),
    }
