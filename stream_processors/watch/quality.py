"""Readings of data quality and pipeline health for the alert rules, asked of ClickHouse: a few sums every other second.

Also the rows of `data_quality`, one a minute, dimension of quality and tenant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from schemas.alerting.readings import METRIC_PREFIX, Reading, subject_of
from schemas.ledger import RECEIVED, RECOVERED
from stream_processors.ports import WarehousePort
from stream_processors.sql import Roles, moment, role_condition, text
from stream_processors.watch.long_sums import NEWEST, LongSum

Needed = set[tuple[str, float, str]]

LEDGER_SECONDS: Final = 60.0
"""Counts of minutes that are older than `UNSETTLED_SECONDS` are read so often; they seldom change."""
UNSETTLED_SECONDS: Final = 300
EVENTS_SECONDS: Final = 600.0
"""Rows of a day are read so often, at least; those of a shorter window every sixtieth of it."""
VISIBLE_SECONDS: Final = 10.0
"""Rows may become visible so long after their `inserted_at`."""

_RATES: Final[Mapping[str, tuple[str, str]]] = {
    "validation_pass_rate_percent": ("accepted", "decided"),
    "duplicate_rate_percent": ("duplicate", "accepted"),
    "late_arrival_rate_percent": ("late", "accepted"),
}


class QualityRow(msgspec.Struct, frozen=True):
    """A row of `data_quality`. `minute`: Unix seconds."""

    tenant: str
    minute: int
    metric: str
    value: float | None
    n: int
    version: int


class Quality:
    """Asks for the readings that the rules need. Methods block and raise `Retryable` when the warehouse is away."""

    def __init__(self, warehouse: WarehousePort, roles: Mapping[str, Roles]) -> None:
        self._warehouse = warehouse
        self._roles = roles
        self._long: dict[str, LongSum] = {}

    def readings(self, needed: Needed, now: float) -> list[Reading]:
        """A reading of each needed (signal, window in seconds, dimension) for each tenant that sent in 24 h."""
        found: list[Reading] = []
        for window in sorted({window for signal, window, _ in needed if signal in _LEDGER_SIGNALS}):
            wanted = {signal for signal, other, _ in needed if other == window}
            found += self._from_ledger(wanted, window, now)
        for signal, window, dimension in sorted(needed):
            if signal == "data_freshness_minutes":
                found += self._freshness(window, now)
            elif signal in _ROW_SHARES:
                found += self._row_share(signal, window, now)
            elif signal == f"{METRIC_PREFIX}budget_utilization" and dimension == "campaign":
                found += self._budgets(window, now)
        return found

    def rows(self, readings: Iterable[Reading], now: float) -> list[QualityRow]:
        """The tenant-wide quality readings as rows of the current minute."""
        minute, version = int(now) // 60 * 60, int(now * 1000)
        return [
            QualityRow(reading.tenant, minute, reading.signal, reading.value, reading.count, version)
            for reading in readings
            if not reading.subject and not reading.signal.startswith(METRIC_PREFIX)
        ]

    def _from_ledger(self, wanted: set[str], window: float, now: float) -> list[Reading]:
        start, day = now - window, now - 86400
        earlier = [int(start - day * 86400) for day in range(1, 8)]
        ranges = " OR ".join(f"(minute >= {at} AND minute < {at + int(window)})" for at in earlier)

        def read(side: str, cut: float) -> list[dict[str, Any]]:
            return self._warehouse.query(f"""
                SELECT tenant, {_stage("received", start)}, {_stage("accepted", start)}, {_stage("rejected", start)},
                    {_stage("duplicate", start)}, {_stage("late", start)}, {_stage("received", day, "day")},
                    sumIf(n, {_of("received")} AND ({ranges})) AS earlier,
                    uniqExactIf(toDate(minute), {_of("received")} AND ({ranges})) AS earlier_days
                FROM ledger FINAL WHERE minute {side} {int(cut)} AND tenant != ''
                    AND (minute >= {int(min(start, day)) // 60 * 60} OR {ranges}) GROUP BY tenant""")

        long = self._long.setdefault(f"ledger {window}", LongSum(LEDGER_SECONDS))
        sums = long.ask(now, lambda: now // 60 * 60 - UNSETTLED_SECONDS, read)
        return [one for tenant, row in sums.items() for one in _ledger_readings(tenant, row, wanted, window, now)]

    def _freshness(self, window: float, now: float) -> list[Reading]:
        columns = f"toFloat64(max(received_at)) AS {NEWEST}, count() AS n"
        return [
            _reading(tenant, "data_freshness_minutes", window, max(0.0, now - row[NEWEST]) / 60, row["n"], now)
            for tenant, row in self._from_events("freshness", columns, window, now).items()
        ]

    def _row_share(self, signal: str, window: float, now: float) -> list[Reading]:
        columns = f"countIf({_ROW_SHARES[signal]}) AS good, count() AS n"
        return [
            _reading(tenant, signal, window, 100 * row["good"] / row["n"], row["n"], now)
            for tenant, row in self._from_events(signal, columns, window, now).items()
        ]

    def _from_events(self, what: str, columns: str, window: float, now: float) -> dict[str, dict[str, float]]:
        """Sums of the rows that were received within the window, split by when they were stored."""

        def cut() -> float:
            return float(self._warehouse.query("SELECT toFloat64(now64(3, 'UTC')) AS now")[0]["now"]) - VISIBLE_SECONDS

        def read(side: str, cut: float) -> list[dict[str, Any]]:
            return self._warehouse.query(
                f"SELECT tenant, {columns} FROM events WHERE received_at >= {moment(now - window)}"
                f" AND inserted_at {side} {moment(cut)} AND tenant != '' GROUP BY tenant"
            )

        every = min(EVENTS_SECONDS, max(LEDGER_SECONDS, window / 60))
        return self._long.setdefault(f"{what} {window}", LongSum(every)).ask(now, cut, read)

    def _budgets(self, window: float, now: float) -> list[Reading]:
        spend = role_condition(self._roles, "spend")
        since = f"AND timestamp >= {moment(now - window)}" if window else ""
        rows = self._warehouse.query(f"""
            SELECT tenant, campaign_id, sumIf(amount_micros, {spend} {since}) AS spent,
                maxIf(amount_micros, event_type = 'campaign_launched') AS approved,
                maxIf(amount_micros, event_type = 'campaign_created') AS initial
            FROM events FINAL WHERE campaign_id != '' AND tenant != '' AND
                ({spend} OR event_type IN ('campaign_created', 'campaign_launched'))
            GROUP BY tenant, campaign_id""")
        moved = self._moved()
        found = []
        for row in rows:
            budget = int(row["approved"] or row["initial"]) + moved.get((row["tenant"], row["campaign_id"]), 0)
            value = 100 * int(row["spent"]) / budget if budget > 0 else None
            found.append(
                Reading(
                    row["tenant"],
                    f"{METRIC_PREFIX}budget_utilization",
                    subject_of("campaign", row["campaign_id"]),
                    window,
                    value,
                    1,
                    now,
                    {"spent_micros": int(row["spent"]), "budget_micros": budget},
                )
            )
        return found

    def _moved(self) -> dict[tuple[str, str], int]:
        """Net budget moved to each campaign, millionths."""
        rows = self._warehouse.query("""
            SELECT tenant, campaign, sum(amount) AS moved FROM (
                SELECT tenant, JSONExtractString(properties, 'to_campaign_id') AS campaign, amount_micros AS amount
                FROM events FINAL WHERE event_type = 'budget_reallocated'
                UNION ALL
                SELECT tenant, JSONExtractString(properties, 'from_campaign_id'), -amount_micros
                FROM events FINAL WHERE event_type = 'budget_reallocated')
            GROUP BY tenant, campaign""")
        return {(row["tenant"], row["campaign"]): int(row["moved"]) for row in rows}


_LEDGER_SIGNALS: Final = {*_RATES, "ingestion_rate_percent", "events_received"}
_ROW_SHARES: Final = {
    "completeness_percent": "user_id != '' AND event_id != '' AND source != ''",
    "schema_compliance_percent": "extra = 0",
}


SLOWER: Final[Mapping[str, int]] = {**dict.fromkeys(_ROW_SHARES, 2), f"{METRIC_PREFIX}budget_utilization": 10}
"""Signals that read rows of `events`, those of spending since the beginning: asked so many times less often than those
of the ledger."""


def _stage(stage: str, start: float, name: str = "") -> str:
    return f"sumIf(n, {_of(stage)} AND minute >= {int(start) // 60 * 60}) AS {name or stage}"


def _of(stage: str) -> str:
    """The condition for a stage; what was recovered was received."""
    return f"stage IN ({text(stage)}, {text(RECOVERED)})" if stage == RECEIVED else f"stage = {text(stage)}"


def _ledger_readings(
    tenant: str, sums: Mapping[str, float], wanted: set[str], window: float, now: float
) -> list[Reading]:
    counts = {name: int(value) for name, value in sums.items()}
    counts["decided"] = counts["accepted"] + counts["rejected"]
    found = []
    for signal in sorted(wanted & _RATES.keys()):
        part, whole = (counts[name] for name in _RATES[signal])
        found.append(_reading(tenant, signal, window, 100 * part / whole if whole else None, whole, now))
    if "events_received" in wanted:
        found.append(_reading(tenant, "events_received", window, counts["received"], counts["day"], now))
    if "ingestion_rate_percent" in wanted and counts["earlier_days"]:
        expected = counts["earlier"] // counts["earlier_days"]
        value = 100 * counts["received"] / expected if expected else None
        found.append(_reading(tenant, "ingestion_rate_percent", window, value, expected, now))
    return found


def _reading(tenant: str, signal: str, window: float, value: float | None, count: float, now: float) -> Reading:
    return Reading(tenant, signal, "", window, value, int(count), now)
