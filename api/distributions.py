"""Metrics that are a quantile of many observations: how long something took, over people or events.

Quantiles are exact: between two observations they lie on the straight line, as PERCENTILE_CONT of SQL has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.measures import cell_key, grouped
from api.reader import Reader
from api.selections import Question, Select, first_conversions, of_live_events
from api.slices import Binder, Slice, bucket_sql
from schemas.metrics import Metric
from schemas.taxonomy.pack import Pack

SHOWN: Final[Mapping[str, float]] = {"p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}


@dataclass(frozen=True)
class Observed:
    """What is observed of each row: `value` (SQL, whole numbers), of which `per` are one unit of the metric."""

    roles: tuple[str, ...]
    select: Select
    value: str
    per: int

    def known_to(self, pack: Pack) -> bool:
        """Whether the pack declares what this observes."""
        return all(pack.roles.get(role) for role in self.roles)


OBSERVED: Final[Mapping[str, Observed]] = {
    "time_to_conversion": Observed(("impression", "conversion"), first_conversions, "waited_ms", 3_600_000),
    "lag": Observed(
        (), of_live_events, "toUnixTimestamp64Milli(inserted_at) - toUnixTimestamp64Milli(timestamp)", 1000
    ),
}


@dataclass(frozen=True)
class Distributions:
    """What the metric endpoint asks of a metric's cells, answered from observations."""

    metric: Metric
    cells: Mapping[tuple[str | None, int | None], Mapping[str, Any]]

    def groups(self) -> set[str]:
        """The groups that anything was observed in."""
        return {group for group, _ in self.cells if group is not None}

    def at(self, group: str | None, point: int | None) -> dict[str, Any]:
        """`value` (the metric's own quantile), quartiles, p95, the longest, and as `numerator` how many there are."""
        nothing = {"value": None, "numerator": 0, "denominator": None, **dict.fromkeys(SHOWN), "max": None}
        return {**nothing, **self.cells.get((group, point), {})}


async def read_distributions(reader: Reader, metric: Metric, asked: Slice, pack: Pack) -> Distributions:
    """The quantiles of a range, its groups and its points. Raises what the reader raises."""
    cells: dict[tuple[str | None, int | None], Mapping[str, Any]] = {}
    per = OBSERVED[metric.measures.numerator].per
    for aggregated, group, point, count, most, quantiles in await reader.rows(*statement(metric, asked, pack)):
        if not int(count):
            continue
        value, *shown = (float(one) / per for one in quantiles)
        named = dict(zip(SHOWN, shown, strict=True))
        cells[cell_key(aggregated, group, point)] = {
            "value": value, "numerator": int(count), **named, "max": int(most) / per,
        }  # fmt: skip
    return Distributions(metric, cells)


def statement(metric: Metric, asked: Slice, pack: Pack) -> tuple[str, dict[str, object]]:
    """The SELECT of a metric's quantiles, with its bound values."""
    observed, bind = OBSERVED[metric.measures.numerator], Binder()
    rows = observed.select(bind, Question(asked, pack, frozenset(), exact_rows=True))
    shares = ", ".join(map(str, (metric.quantile, *SHOWN.values())))
    numbers = f"count(), max({observed.value}), quantilesExactInclusive({shares})({observed.value})"
    point = bucket_sql(asked.interval) if asked.interval else "toInt64(0)"
    return grouped(rows, asked, numbers, point), bind.params
