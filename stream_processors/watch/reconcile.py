"""The reconciliation: what the ledger says against what is there, and what dead collectors could not tell any more.

Reads: `ledger`, and counts of `events` and `rejected_events`. Writes: `reconciliation`, one row a tenant, minute and
check; stage `recovered` of `ledger`: events that came through and that their collector did not count. Both absolute and
versioned, so that a repetition changes nothing, and a collector that publishes after all takes its events back. Every
minute is looked at when it closes, and again at the ages of `LOOKS`; one that does not balance, in every round until it
does. On failure: a round that could not be finished is put off; its minutes are due again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from schemas.alerting.readings import Reading
from schemas.clock import Clock
from schemas.errors import Permanent, Retryable
from schemas.ledger import RECOVERED
from schemas.wire import LedgerLine, encode_lines
from stream_processors.ports import WarehousePort
from stream_processors.routes import Background
from stream_processors.watch.ledger_gauges import LedgerGauges
from stream_processors.watch.outages import Outages
from stream_processors.watch.tallies import MINUTE, Look, Tallies, ranges

log = logging.getLogger("headrace.watcher")

SIGNAL: Final = "ledger_difference_events"
CLOSING_SECONDS: Final = 15
"""How long after its end a minute is first looked at: counts travel for a moment."""
RECOVER_SECONDS: Final = 300
"""A chunk that its collector has not counted for so long is recovered. Younger minutes are read with what is under way
(`api.ledger`)."""
DEPTH_SECONDS: Final = 86_400
LOOKS: Final = (0, 600, 3_600, 21_600, DEPTH_SECONDS - 1_200)
"""Ages at which a minute is looked at, seconds; after a start, all of the last day at the second of them."""
SLICE: Final = 10 * MINUTE
"""Later looks wait for so much: they read more than they need of the large parts of `events`."""
MOST: Final = 60 * MINUTE
"""And take so much at once, at most."""
OPEN_AT_ONCE: Final = 60
MOST_DIFFERENCES: Final = 50_000
SHOWN: Final = 10


class Result(msgspec.Struct, frozen=True):
    """A row of `reconciliation`. `minute`: Unix seconds."""

    tenant: str
    minute: int
    what: str
    expected: int
    found: int
    difference: int
    checked_at: float
    version: int


class Reconciler:
    """Runs in one thread (`run`); `readings` may be called from another and never blocks."""

    def __init__(
        self, warehouse: WarehousePort, windows: Iterable[float], clock: Clock, gauges: LedgerGauges, seconds: float
    ) -> None:
        """`windows`: those of the rules about `SIGNAL`, seconds. `seconds`: between two rounds."""
        self._warehouse, self._tallies = warehouse, Tallies(warehouse)
        self._windows, self._clock, self._gauges, self._seconds = sorted(windows), clock, gauges, seconds
        self._outages = Outages()
        self._next: list[int] = []
        self._open: dict[int, float] = {}
        self._wrong: dict[tuple[str, int, str], Result] = {}
        self._seen: dict[str, int] = {}
        self._recovered: dict[int, set[int]] = {}
        self._marks: dict[int, int] = {}
        self._readings: tuple[Reading, ...] = ()

    def background(self) -> tuple[Background, ...]:
        """The rounds."""
        return (Background("reconcile", self._seconds, self.run),)

    def readings(self) -> Sequence[Reading]:
        """The difference of each tenant, as of the last round; none when that is too long ago."""
        known = self._readings
        oldest = self._clock.now() - 5 * self._seconds - MINUTE
        return known if known and known[0].at >= oldest else ()

    def run(self) -> None:
        """One round; a passing fault is said once, and the round is put off."""
        try:
            self._round(self._clock.now())
        except (Retryable, Permanent) as error:
            self._outages.failed("the ledger", error)
        else:
            self._outages.answered("the ledger")

    def _round(self, now: float) -> None:
        began = self._clock.monotonic()
        if not self._next:
            self._restore(now)
        if not self._next or self._next[0] > _closed(now):
            self._next = _plan(_closed(now))
        looked = 0
        for first, end in self._due(now):
            self._reconcile(first, end, now)
            looked += (end - first) // MINUTE
        self._forget(now)
        alive = Result("", int(now) // MINUTE * MINUTE, "round", looked, looked, len(self._open), now, 0)
        self._store([alive], now)
        self._readings = tuple(self._read(now))
        self._gauges.show(self._wrong.values(), self._seen, now, self._clock.monotonic() - began, len(self._open))

    def _restore(self, now: float) -> None:
        """Take up what was wrong, and begin to look at the last day."""
        since = int(now) - DEPTH_SECONDS
        rows = self._warehouse.query(
            "SELECT tenant, toUnixTimestamp(minute) AS minute, what, expected, found, difference, checked_at, version"
            f" FROM reconciliation FINAL WHERE difference != 0 AND tenant != '' AND minute >= {since}"
        )
        self._recovered = {boot: set(minutes) for boot, minutes in self._tallies.recovered_since(since).items()}
        self._marks = self._tallies.watermarks(since)
        for row in rows:
            result = msgspec.convert(row, Result, strict=False)
            self._wrong[result.tenant, result.minute, result.what] = result
            self._open[result.minute] = 0.0
            self._seen[result.tenant] = result.minute

    def _due(self, now: float) -> Iterator[tuple[int, int]]:
        """Ranges to look at. Progress is noted as they are taken."""
        closed = _closed(now)
        self._reopen(now)
        oldest_first = sorted(self._open, key=lambda minute: (self._open[minute], -minute))
        yield from ranges(oldest_first[:OPEN_AT_ONCE], MOST)
        for number, age in enumerate(LOOKS):
            first, limit = self._next[number], closed - age
            least = SLICE if number else MINUTE
            if limit - first >= least:
                end = min(limit, first + MOST)
                yield first, end
                self._next[number] = end

    def _reopen(self, now: float) -> None:
        """A collector that was thought to be gone and publishes again counts what was recovered: look there again."""
        marks = self._tallies.watermarks(int(now) - DEPTH_SECONDS)
        for boot, minutes in self._recovered.items():
            if marks.get(boot) != self._marks.get(boot):
                self._open |= dict.fromkeys(minutes - self._open.keys(), 0.0)
        self._marks = marks

    def _reconcile(self, first: int, end: int, now: float) -> None:
        look = self._tallies.look(first, end)
        unsettled = self._recover(look, now)
        known = {key[:2] for key in self._wrong if first <= key[1] < end}
        results = [
            Result(tenant, minute, check.what, check.expected, check.found, check.difference, now, 0)
            for tenant, minute in sorted(look.tallies.keys() | known)
            for check in look.tallies[tenant, minute].checks()
        ]
        self._store(results, now)
        for result in results:
            self._note(result)
        off = {result.minute for result in results if result.difference} | unsettled
        for minute in range(first, end, MINUTE):
            if minute in off:
                self._open[minute] = now
            else:
                self._open.pop(minute, None)

    def _recover(self, look: Look, now: float) -> set[int]:
        """Write what has been under way for too long as recovered; the minutes where something still is under way."""
        rows, unsettled = [], set()
        for key in sorted(look.uncounted.keys() | look.recovered.keys()):
            tenant, minute, boot = key
            n, there = look.uncounted.get(key, 0), look.recovered.get(key)
            if n == (there.n if there else 0):
                continue
            if minute > now - RECOVER_SECONDS:
                unsettled.add(minute)
                continue
            version = max(int(now * 1000), there.version + 1 if there else 0)
            rows.append(LedgerLine(tenant, minute, RECOVERED, "", boot, n, version))
            log.warning("%d events of %s were not counted by their collector (%08x): recovered", n, tenant, boot)
            self._recovered.setdefault(boot, set()).add(minute)
        self._warehouse.insert_lines("ledger", encode_lines(rows) if rows else b"")
        return unsettled

    def _store(self, results: Sequence[Result], now: float) -> None:
        version = int(now * 1000)
        rows = [msgspec.structs.replace(result, checked_at=round(now, 3), version=version) for result in results]
        self._warehouse.insert_lines("reconciliation", encode_lines(rows) if rows else b"")

    def _note(self, result: Result) -> None:
        key = (result.tenant, result.minute, result.what)
        self._seen[result.tenant] = max(result.minute, self._seen.get(result.tenant, 0))
        if not result.difference:
            self._wrong.pop(key, None)
        elif len(self._wrong) < MOST_DIFFERENCES or key in self._wrong:
            self._wrong[key] = result

    def _forget(self, now: float) -> None:
        """What is older than a day is left as it is."""
        oldest = int(now) - DEPTH_SECONDS
        self._open = {minute: at for minute, at in self._open.items() if minute >= oldest}
        self._wrong = {key: result for key, result in self._wrong.items() if result.minute >= oldest}
        self._seen = {tenant: minute for tenant, minute in self._seen.items() if minute >= oldest}
        self._recovered = {
            boot: kept for boot, all_ in self._recovered.items() if (kept := {at for at in all_ if at >= oldest})
        }

    def _read(self, now: float) -> Iterator[Reading]:
        by_tenant: dict[str, list[Result]] = {tenant: [] for tenant in self._seen}
        for result in self._wrong.values():
            by_tenant[result.tenant].append(result)
        for tenant, wrong in by_tenant.items():
            for window in self._windows:
                lately = [result for result in wrong if result.minute >= now - window]
                value = sum(abs(result.difference) for result in lately)
                yield Reading(tenant, SIGNAL, "", window, value, 1, now, _evidence(lately))


def _evidence(wrong: Sequence[Result]) -> dict[str, Any]:
    worst = sorted(wrong, key=lambda result: (-abs(result.difference), result.minute))[:SHOWN]
    by_check: dict[str, int] = {}
    for result in wrong:
        by_check[result.what] = by_check.get(result.what, 0) + result.difference
    shown = [{"minute": one.minute, "check": one.what, "expected": one.expected, "found": one.found} for one in worst]
    return {"expected": 0, "by_check": by_check, "minutes": len({one.minute for one in wrong}), "contributors": shown}


def _closed(now: float) -> int:
    """The first minute that is not closed yet."""
    return int(now - CLOSING_SECONDS) // MINUTE * MINUTE


def _plan(closed: int) -> list[int]:
    """Where each look begins after a start, or when a clock went back: with the last minutes, and with all of a day."""
    return [closed - SLICE, closed - DEPTH_SECONDS, *(closed - age for age in LOOKS[2:])]
