"""How many events this process received, by tenant and minute: absolute counts, published when they changed.

An event counts as received when the chunk that carries it is acknowledged, so a request that was answered with 503
and never reached Kafka does not unbalance the ledger. Not covered: counts of the last second are lost with a process
that is killed, and a chunk that Kafka stored without telling us is counted by the processors only. Both show in the
reconciliation as events accepted beyond those received; no event is lost by either.
"""

from __future__ import annotations

from collections.abc import Iterable

from ingest.gather import CountKey
from schemas.wire import LedgerLine, encode_lines

RECEIVED = "received"
_KEEP_PUBLISHES = 300
"""Publications a count outlives its last change; a late acknowledgement must find its minute."""


class _Cell:
    __slots__ = ("changed", "n", "published")

    def __init__(self) -> None:
        self.n = self.changed = self.published = 0


class Received:
    """Counts of one process incarnation (`origin`). Versions grow with every publication."""

    def __init__(self, origin: int) -> None:
        self._origin = origin
        self._cells: dict[tuple[str, int], _Cell] = {}
        self._version = 0

    def add(self, counts: Iterable[tuple[CountKey, int]]) -> None:
        """Count an acknowledged chunk."""
        for (tenant, minute, _), n in counts:
            cell = self._cells.get((tenant, minute))
            if cell is None:
                cell = self._cells[tenant, minute] = _Cell()
            cell.n += n
            cell.changed = self._version + 1

    def publication(self) -> tuple[int, bytes]:
        """The next version and the changed counts as ledger lines; empty bytes when nothing changed."""
        self._version += 1
        rows = [
            LedgerLine(tenant, minute, RECEIVED, "", self._origin, cell.n, self._version)
            for (tenant, minute), cell in self._cells.items()
            if cell.changed > cell.published
        ]
        return self._version, encode_lines(rows) if rows else b""

    def confirm(self, version: int) -> None:
        """Kafka has the publication `version`; forget counts that have not changed for long."""
        for cell in self._cells.values():
            if cell.changed <= version:
                cell.published = max(cell.published, version)
        old = version - _KEEP_PUBLISHES
        for key in [k for k, c in self._cells.items() if c.changed <= c.published and c.changed < old]:
            del self._cells[key]
