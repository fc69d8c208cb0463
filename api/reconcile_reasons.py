"""What may explain that another tool's numbers are not ours, with the numbers that say so. No cause is proven by it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

from api.measures import MEASURES, read_cells
from api.reader import Reader
from api.reconcile import DAY, Compared, Reconciler, Verdict, judge
from api.slices import Binder, Interval, Slice
from api.sources import events_where, range_where
from api.sums import Sums
from schemas.metrics import Kind, Metric
from schemas.taxonomy.pack import Pack
from schemas.wire import MICROS

HOUR: Final = 3_600_000
OFFSETS: Final = tuple(sorted(range(-12, 15), key=abs))
"""Whole hours that a day may begin before midnight in UTC; the nearest first."""
_SUMMED: Final = (MEASURES["events"].aggregate, MEASURES["revenue"].aggregate)
"""Counts and sums: those of a day are those of its hours, added."""


def of_ledger(sums: Sums, completeness: float) -> list[dict[str, Any]]:
    """Reasons that the ledger of the days knows, by the minute of receipt."""
    found = [
        _reason("duplicates", sums.duplicates, "events came more than once and count once here"),
        _reason("late", sums.late, "events came over 24 hours late and count here at the time when they happened"),
        _reason("suppressed", sums.suppressed, "events are of users that are not kept here"),
    ]
    rejected = _reason("rejected", sum(sums.rejected.values()), "events were rejected here")
    found.append({**rejected, "by_reason": dict(sorted(sums.rejected.items()))})
    missing = max(0, sums.expected - sums.settled)
    found.append(
        {**_reason("incomplete", missing, "events are not stored yet"), "completeness": round(completeness, 4)}
    )
    return [one for one in found if one["events"]]


def _reason(name: str, events: int, detail: str) -> dict[str, Any]:
    return {"reason": name, "events": events, "detail": f"{events} {detail}"}


def of_open_days(rows: Sequence[Compared], now_ms: int) -> list[dict[str, Any]]:
    """Days that are not over yet."""
    count = sum(row.claim.day_ms + DAY > now_ms for row in rows if row.verdict is not Verdict.MATCH)
    detail = f"{count} rows are of a day that is not over yet"
    return [{"reason": "day_not_over", "rows": count, "detail": detail}] if count else []


async def of_holdouts(reader: Reader, rows: Sequence[Compared], asked: Slice, ours: Reconciler) -> list[dict[str, Any]]:
    """Deliveries to users who are held out, where rows that are off count deliveries."""
    metrics = (ours.dictionary.find(row.claim.metric) for row in rows if row.verdict is not Verdict.MATCH)
    if not any(metric and _counts_deliveries(metric) for metric in metrics) or not ours.pack.roles.get("impression"):
        return []
    bind = Binder()
    where = [events_where(bind, asked.tenant, ours.pack.roles["impression"]), *range_where(bind, asked), "is_holdout"]
    ((n,),) = await reader.rows(f"SELECT count() FROM events FINAL WHERE {' AND '.join(where)}", bind.params)
    detail = "deliveries are to users who are held out, which are no impressions here"
    return [_reason("holdout", int(n), detail)] if int(n) else []


def _counts_deliveries(metric: Metric) -> bool:
    names = (metric.measures.numerator, metric.measures.denominator)
    return any("impression" in MEASURES[name].roles for name in names if name and name in MEASURES)


async def of_time_zone(
    reader: Reader, rows: Sequence[Compared], ours: Reconciler, tolerance_percent: Fraction
) -> list[dict[str, Any]]:
    """Metrics whose rows fit a day that begins another hour: two rows more, and four of five, of counts and sums."""
    found = []
    for name in dict.fromkeys(row.claim.metric for row in rows if row.verdict is not Verdict.MATCH):
        metric = ours.dictionary.find(name)
        own = [row for row in rows if row.claim.metric == name and not row.claim.dimensions]
        if metric is not None and len(own) > 1 and _is_added(metric, ours.pack):
            found += await _shifted(reader, metric, own, ours, tolerance_percent)
    return found


def _is_added(metric: Metric, pack: Pack) -> bool:
    measure = MEASURES.get(metric.measures.numerator)
    if metric.kind is not Kind.QUOTIENT or metric.measures.denominator is not None or measure is None:
        return False
    return measure.aggregate in _SUMMED and not measure.to_date and measure.known_to(pack)


async def _shifted(
    reader: Reader, metric: Metric, rows: Sequence[Compared], ours: Reconciler, tolerance_percent: Fraction
) -> list[dict[str, Any]]:
    start, end = min(row.claim.day_ms for row in rows) - DAY, max(row.claim.day_ms for row in rows) + 2 * DAY
    measure = MEASURES[metric.measures.numerator]
    asked = Slice(ours.tenant, start, end, {}, interval=Interval.HOUR, known_ms=ours.now_ms)
    (cells,) = await read_cells(reader, [measure], asked, ours.pack, ours.settings.max_buckets)
    hours = cells.series()

    def matches(offset: int) -> int:
        count = 0
        for row in rows:
            first = row.claim.day_ms - offset * HOUR
            total = sum(hours.get(first + hour * HOUR, 0) for hour in range(24))
            exact = Fraction(total, MICROS if measure.money else 1)
            count += judge(row.claim.theirs, exact, tolerance_percent) is Verdict.MATCH
        return count

    best = max(OFFSETS, key=matches)
    count, plain = matches(best), matches(0)
    if count < plain + 2 or count * 5 < len(rows) * 4:
        return []
    detail = f"{count} of {len(rows)} rows of {metric.id} match if their day begins at midnight of UTC{best:+d}"
    return [{"reason": "time_zone", "metric": metric.id, "utc_offset_hours": best, "rows": count, "detail": detail}]
