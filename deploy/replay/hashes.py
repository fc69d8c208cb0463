"""What a table says, as one number: a hash over its rows that their order, shards, versions and times of writing leave
unchanged. Two tables with the same hash answer every question alike.

Numbers that a model computed are compared to nine digits after the point; all others as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deploy.replay.request import Span
from sinks.warehouse import Warehouse

DAILY: Final = "toUnixTimestamp64Milli(as_of) % 86400000 = 0"
"""Predictions of the daily round, which are about a midnight. All others are fresh scores of users just active."""


@dataclass(frozen=True)
class Digest:
    """How many rows a table has in a span, and their hash (32 hexadecimal digits)."""

    rows: int
    hash: str


def digest(warehouse: Warehouse, database: str, table: str, span: Span, among: str = "") -> Digest:
    """The digest of a table's rows that lie in the span.

    User states have no span: those of the users whom the database `among` has, too, or of all.
    """
    rows = warehouse.query(
        "SELECT count() AS n, lower(concat(leftPad(hex(sumWithOverflow(sipHash64(line))), 16, '0'),"
        f" leftPad(hex(groupBitXor(xxHash64(line))), 16, '0'))) AS hash FROM ({_lines(database, table, span, among)})"
    )
    return Digest(int(rows[0]["n"]), str(rows[0]["hash"]))


def differences(warehouse: Warehouse, table: str, one: str, other: str, span: Span, most: int = 3) -> list[str]:
    """Up to `most` rows of database `one` that `other` does not have, as text."""
    among = other if table == "user_state" and not span.is_whole else ""
    rows = warehouse.query(
        f"SELECT line FROM ({_lines(one, table, span, among)}) WHERE line NOT IN ({_lines(other, table, span)})"
        f" ORDER BY line LIMIT {most}"
    )
    return [str(row["line"]) for row in rows]


def in_span(table: str, span: Span) -> str:
    """The condition on a row that it is part of the replayable record and lies in the span."""
    if table == "user_state":
        return "events > 0"
    condition = span.condition(_TIMES[table])
    return f"({condition} AND {_RECORD[table]})" if table in _RECORD else condition


def _lines(database: str, table: str, span: Span, among: str = "") -> str:
    if table == "windows":
        return (
            f"SELECT toString(tuple({_CELL}, sum(events), sum(users), sum(amount_micros), sum(late))) AS line"
            f" FROM {database}.windows FINAL WHERE {in_span(table, span)} GROUP BY {_CELL} HAVING sum(events) > 0"
        )
    return (
        f"SELECT toString(tuple({', '.join(_COLUMNS[table])})) AS line FROM {database}.{table} FINAL"
        f" WHERE {in_span(table, span)}"
        + (f" AND (tenant, user_id) IN (SELECT tenant, user_id FROM {among}.{table})" if among else "")
    )


_CELL: Final = "tenant, minute, event_type, subtype, campaign_id, creative_id, segment, channel"
_TIMES: Final = {
    "windows": "minute",
    "predictions": "as_of",
    "evaluations": "as_of",
    "anomalies": "bucket",
    "events": "timestamp",
}
_RECORD: Final = {"predictions": DAILY, "anomalies": "settled"}


def _rounded(*columns: str) -> tuple[str, ...]:
    return tuple(f"round({column}, 9)" for column in columns)


_COLUMNS: Final = {
    "user_state": (
        *("tenant", "user_id", "first_seen", "last_seen", "last_active", "signed_up_at", "first_purchase_at"),
        *("last_purchase_at", "unsubscribed_at", "events", "purchases", "monetary_micros", "sessions"),
        *("mapSort(delivered)", "mapSort(opened)", "clicked", "segment", "segment_at"),
    ),
    "predictions": (
        *("tenant", "model", "model_version", "subject_id", "as_of", "prediction_id", "tier", "label"),
        *_rounded("probability", "base"),
        "mapSort(mapApply((k, v) -> (k, round(v, 9)), contributions))",
        "mapSort(features)",
    ),
    "evaluations": ("tenant", "model", "model_version", "as_of", "metric", "n", *_rounded("value")),
    "anomalies": (
        *("tenant", "anomaly_id", "metric_id", "dimension", "bucket", "type", "severity", "detector"),
        *_rounded("expected", "actual", "deviation", "score"),
    ),
    "events": (
        *("tenant", "event_id", "event_type", "timestamp", "received_at", "user_id", "session_id", "source", "slot"),
        *("campaign_id", "creative_id", "segment", "channel", "order_id", "subtype", "is_holdout", "backfill"),
        *("amount_micros", "pack", "version", "key_id", "extra", "properties", "context"),
    ),
}
