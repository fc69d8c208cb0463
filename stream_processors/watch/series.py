"""Metric series for the anomaly detector: which they are, and their history out of the `windows` table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from online_models.baseline import Kind
from stream_processors.ports import WarehousePort
from stream_processors.sql import Roles, pair_list, text_list
from stream_processors.watch.board import SYSTEM, Touched

HISTORY_SECONDS: Final = 8 * 86400

COUNTS: Final[Mapping[str, str]] = {
    "event": "events",
    "impression": "impressions",
    "open": "opens",
    "click": "clicks",
    "conversion": "conversions",
    "purchase": "purchases",
}
"""Measure of the board to the metric whose series is its count."""

REVENUE: Final = "revenue"
KINDS: Final[Mapping[str, Kind]] = {REVENUE: "amount"}

Point = tuple[str, str, str, float, float]
"""tenant, metric, dimension, minute (Unix seconds), value."""


def points(touched: Iterable[Touched]) -> Iterator[Point]:
    """The series' values of minutes that changed on the board."""
    for tenant, measure, minute, total in touched:
        if measure in COUNTS:
            yield tenant, COUNTS[measure], "", minute, total.events
        if measure == "purchase":
            yield tenant, REVENUE, "", minute, total.amount_micros / 1_000_000


def history(warehouse: WarehousePort, packs: Iterable[Roles], start: float, end: float) -> Iterator[Point]:
    """The series' values of all minutes in [start, end) as the `windows` table has them."""
    packs = list(packs)
    columns = [
        f"sumIf(w.events, {measure_condition(packs, measure)}) AS {metric}" for measure, metric in COUNTS.items()
    ]
    purchase = measure_condition(packs, "purchase")
    rows = warehouse.query(
        f"SELECT tenant, toUnixTimestamp(minute) AS at, {', '.join(columns)},"
        f" sumIf(w.amount_micros, {purchase}) AS amount FROM windows AS w FINAL"
        f" WHERE w.minute >= {int(start)} AND w.minute < {int(end)} AND tenant != '' GROUP BY tenant, minute"
    )
    for row in rows:
        tenant, minute = row["tenant"], float(row["at"])
        for metric in COUNTS.values():
            yield tenant, metric, "", minute, float(row[metric])
        yield tenant, REVENUE, "", minute, int(row["amount"]) / 1_000_000


def measure_condition(packs: Iterable[Roles], measure: str) -> str:
    """The condition on a row of `windows` that it counts for a measure."""
    if measure == "event":
        system = sorted({event_type for roles in packs for event_type, _ in roles.get(SYSTEM, ())})
        return f"(event_type NOT IN {text_list(system)})" if system else "1"
    refs = [ref for roles in packs for ref in roles.get(measure, ())]
    whole = sorted({event_type for event_type, subtype in refs if subtype is None})
    pairs = sorted({(event_type, subtype) for event_type, subtype in refs if subtype is not None})
    either = [f"event_type IN {text_list(whole)}"] if whole else []
    if pairs:
        either.append(f"(event_type, subtype) IN {pair_list(pairs)}")
    condition = " OR ".join(either) or "0"
    return f"(({condition}) AND subtype != 'holdout')" if measure == "impression" else f"({condition})"
