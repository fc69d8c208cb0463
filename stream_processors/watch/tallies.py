"""What the ledger, `events` and `rejected_events` say about minutes of receipt, and how that must balance.

Reads sums only; one row of a result is a tenant and minute. Rows of `events` may be there repeatedly. So they are
counted together with a checksum of their chunks, which is quick, and where either is not what the ledger says, distinct
ids are counted, which is exact. Methods block and raise `Retryable` when the warehouse is away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from schemas import ledger
from schemas.reasons import Reason
from stream_processors.ports import WarehousePort
from stream_processors.sql import moment, text

MINUTE: Final = 60
SKEW_SECONDS: Final = 3600
"""How far the clocks of collectors and warehouse may differ; it only widens what is looked at."""

_EXACT: Final = 10 * MINUTE
"""Distinct ids are counted of so much at once, at most: they take memory."""

_SIGNS: Final[Mapping[str, int]] = {
    ledger.ACCEPTED: 1,
    ledger.DUPLICATE: -1,
    ledger.SUPPRESSED: -1,
    ledger.DEAD_LETTER: -1,
}

_SETTINGS: Final = "SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1"

Cell = tuple[str, int]
"""Tenant, and minute of receipt (Unix seconds)."""


class Check(NamedTuple):
    """One equation: what must be there, and what is."""

    what: str
    expected: int
    found: int

    @property
    def difference(self) -> int:
        """Missing events; negative when there are too many."""
        return self.expected - self.found


@dataclass
class Tally:
    """Counts of a tenant and minute: by stage of the ledger, seen but in no published count, rows of the two tables."""

    stages: dict[str, int] = field(default_factory=dict)
    uncounted: int = 0
    stored: int = 0
    kept: int = 0
    unreadable: int = 0
    """Of rejected events and dead letters, those in chunks nobody can read: a chunk is one row, whatever it held."""
    checksum: int = 0
    """Of the chunks of the events that the ledger says are stored, less those of the rows that are; modulo 2**64."""

    def checks(self) -> Iterator[Check]:
        """The equations of conservation."""
        n = defaultdict(int, self.stages)
        dead = n[ledger.DEAD_LETTER]
        received = n[ledger.RECEIVED] + self.uncounted
        yield Check("received", received, n[ledger.ACCEPTED] + n[ledger.REJECTED])
        settled = self.stored + n[ledger.DUPLICATE] + n[ledger.SUPPRESSED] + dead
        yield Check("accepted", n[ledger.ACCEPTED], settled)
        yield Check("rejected", n[ledger.REJECTED] + dead - self.unreadable, self.kept)

    @property
    def is_sure(self) -> bool:
        """Whether rows of `events` are what the ledger says, chunk by chunk, so that none is there twice."""
        return self.checksum % 2**64 == 0 and all(
            check.what != "accepted" or not check.difference for check in self.checks()
        )


class Recovered(NamedTuple):
    """A `recovered` row as it stands."""

    n: int
    version: int


@dataclass
class Look:
    """A range of minutes as it is now. `uncounted`, `recovered`: by cell and incarnation of a collector."""

    tallies: dict[Cell, Tally] = field(default_factory=lambda: defaultdict(Tally))
    uncounted: dict[tuple[str, int, int], int] = field(default_factory=dict)
    recovered: dict[tuple[str, int, int], Recovered] = field(default_factory=dict)


class Tallies:
    """Reads ranges of minutes [first, end), Unix seconds."""

    def __init__(self, warehouse: WarehousePort) -> None:
        self._warehouse = warehouse

    def watermarks(self, since: int) -> dict[int, int]:
        """Settled chunks by incarnation, of all that published since."""
        return ledger.watermarks((ledger.WATERMARK, row["origin"], row["n"]) for row in self._marks(since))

    def look(self, first: int, end: int) -> Look:
        """Everything about the range."""
        found = Look()
        uncounted = self._uncounted_condition(first, end)
        where = f"minute >= {first} AND minute < {end} AND tenant != ''"
        for row in self._warehouse.query(
            f"SELECT tenant, toUnixTimestamp(minute) AS at, {ledger.BOOT} AS boot, sum(n) AS n FROM ledger FINAL"
            f" WHERE {where} AND {uncounted} GROUP BY tenant, at, boot {_SETTINGS}"
        ):
            cell = (row["tenant"], int(row["at"]))
            found.uncounted[*cell, int(row["boot"])] = int(row["n"])
            found.tallies[cell].uncounted += int(row["n"])
        for row in self._warehouse.query(
            f"SELECT tenant, toUnixTimestamp(minute) AS at, origin, n, version FROM ledger FINAL"
            f" WHERE {where} AND stage = {text(ledger.RECOVERED)} {_SETTINGS}"
        ):
            key = (row["tenant"], int(row["at"]), int(row["origin"]))
            found.recovered[key] = Recovered(int(row["n"]), int(row["version"]))
        for row in self._warehouse.query(
            "SELECT tenant, toUnixTimestamp(minute) AS at, stage, sum(n) AS total,"
            f" sumIf(n, reason = {text(Reason.UNREADABLE_CHUNK)}) AS unreadable,"
            f" sum(n * intHash64(origin)) AS checksum FROM ledger FINAL WHERE {where}"
            f" GROUP BY tenant, at, stage {_SETTINGS}"
        ):
            tally = found.tallies[row["tenant"], int(row["at"])]
            tally.stages[row["stage"]] = int(row["total"])
            tally.unreadable += int(row["unreadable"])
            tally.checksum += _SIGNS.get(row["stage"], 0) * int(row["checksum"])
        readable = f"countIf(reason != {text(Reason.UNREADABLE_CHUNK)}) AS n"
        for row in self._rows("rejected_events FINAL", readable, first, end):
            found.tallies[row["tenant"], int(row["at"])].kept = int(row["n"])
        for row in self._rows("events", "count() AS n, sum(intHash64(chunk)) AS checksum", first, end):
            tally = found.tallies[row["tenant"], int(row["at"])]
            tally.stored = int(row["n"])
            tally.checksum -= int(row["checksum"])
        self._count_exactly(found)
        return found

    def _count_exactly(self, look: Look) -> None:
        """Count distinct ids where rows do not match the ledger."""
        unsure = {cell for cell, tally in look.tallies.items() if not tally.is_sure}
        for first, end in ranges({minute for _, minute in unsure}, _EXACT):
            for row in self._rows("events", "uniqExact(event_id) AS n", first, end):
                look.tallies[row["tenant"], int(row["at"])].stored = int(row["n"])

    def recovered_since(self, since: int) -> Mapping[int, set[int]]:
        """Minutes with recovered events, by incarnation."""
        found: dict[int, set[int]] = defaultdict(set)
        for row in self._warehouse.query(
            "SELECT origin, toUnixTimestamp(minute) AS at FROM ledger FINAL"
            f" WHERE stage = {text(ledger.RECOVERED)} AND n > 0 AND minute >= {since} AND tenant != '' {_SETTINGS}"
        ):
            found[int(row["origin"])].add(int(row["at"]))
        return found

    def _rows(self, table: str, counts: str, first: int, end: int) -> list[dict[str, Any]]:
        inserted = f" AND inserted_at >= {moment(first - SKEW_SECONDS)}" if table == "events" else ""
        return self._warehouse.query(
            f"SELECT tenant, intDiv(toUnixTimestamp(received_at), {MINUTE}) * {MINUTE} AS at, {counts} FROM {table}"
            f" WHERE received_at >= {moment(first)} AND received_at < {moment(end)}{inserted} AND tenant != ''"
            f" GROUP BY tenant, at {_SETTINGS}"
        )

    def _uncounted_condition(self, first: int, end: int) -> str:
        counted = self._warehouse.query(
            f"SELECT DISTINCT origin FROM ledger WHERE stage = {text(ledger.RECEIVED)}"
            f" AND minute >= {first} AND minute < {end} AND tenant != ''"
        )
        since = first - ledger.MARKS_BEFORE
        marks = [(ledger.WATERMARK, row["origin"], row["n"]) for row in self._marks(since)]
        marks += [(ledger.RECEIVED, row["origin"], 0) for row in counted]
        return ledger.uncounted(ledger.watermarks(marks), str(since))

    def _marks(self, since: int) -> list[dict[str, int]]:
        return self._warehouse.query(
            "SELECT origin, max(n) AS n FROM ledger"
            f" WHERE tenant = '' AND stage = {text(ledger.WATERMARK)} AND minute >= {since} GROUP BY origin"
        )


def ranges(minutes: Iterable[int], most: int) -> Iterator[tuple[int, int]]:
    """Neighbours as ranges [first, end) of at most `most` seconds."""
    first = end = 0
    for minute in sorted(minutes):
        if minute == end and end - first < most:
            end += MINUTE
            continue
        if end:
            yield first, end
        first, end = minute, minute + MINUTE
    if end:
        yield first, end
