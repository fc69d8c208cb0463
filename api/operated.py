"""Metrics of the API itself: how often it answered well, and what its questions cost the warehouse.

Out of `operations`: totals of each process since it began, minute by minute; what they grew by belongs to the minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api.cells import Cells
from api.reader import Reader
from api.settings import Prices
from api.slices import Binder, Slice, bucket_sql
from schemas.metrics import Metric

OPERATED: Final[Mapping[str, bool]] = {"good_calls": False, "calls": False, "query_cost": True, "queries": False}
"""Measures of `operations` that a metric may name, and whether they are money (millionths of the currency)."""
_TOTALS: Final = ("calls", "good_calls", "queries", "query_micros", "query_bytes")
_BEFORE_MS: Final = 7 * 86_400_000
"""How long before a range a process was seen last, at most, if what it had counted by then is to be told apart."""
_GIB: Final = 2**30


async def read_operations(reader: Reader, metric: Metric, asked: Slice, prices: Prices) -> list[Cells]:
    """The cells of a metric's two measures, in total and by point. Raises what the reader raises."""
    names = (metric.measures.numerator, metric.measures.denominator)
    rows = await reader.rows(*statement(asked))
    found = [Cells() for _ in names]
    for aggregated, point, *totals in rows:
        grown = dict(zip(_TOTALS, map(int, totals), strict=True))
        grown["query_cost"] = cost(grown["query_micros"], grown["query_bytes"], prices)
        for cells, name in zip(found, names, strict=True):
            cells.put(None, None if aggregated else int(point), grown[name or "calls"])
    return found


def statement(asked: Slice) -> tuple[str, dict[str, object]]:
    """The SELECT of (whether it is the total, point, what each total grew by), with its bound values."""
    bind = Binder()
    start, end = bind.time(asked.start_ms), bind.time(asked.end_ms)
    point = bucket_sql(asked.interval, "toDateTime64(minute, 3, 'UTC')") if asked.interval else "toInt64(0)"
    grown = ", ".join(f"toInt64({name}) - lagInFrame(toInt64({name}), 1, 0) OVER w AS {name}" for name in _TOTALS)
    steps = (
        f"SELECT minute, {point} AS b, {grown} FROM (SELECT minute, origin, started, {', '.join(_TOTALS)} "
        f"FROM operations FINAL WHERE tenant = {bind(asked.tenant)} AND minute < {end} "
        f"AND minute >= {bind.time(asked.start_ms - _BEFORE_MS)}) "
        "WINDOW w AS (PARTITION BY origin, started ORDER BY minute ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)"
    )
    sums = ", ".join(f"sum({name})" for name in _TOTALS)
    sql = f"SELECT grouping(b), b, {sums} FROM ({steps}) WHERE minute >= {start} GROUP BY GROUPING SETS ((), (b))"
    return sql, bind.params


def cost(micros: int, size: int, prices: Prices) -> int:
    """Millionths of the currency, for microseconds of the warehouse's time and bytes that it read."""
    return round(micros * prices.second + size * prices.gib * 1_000_000 / _GIB)
