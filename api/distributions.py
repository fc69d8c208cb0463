"""Metrics that are a quantile of many observations: how long something took, over people or events.

Quantiles are exact: between two observations they lie on the straight line, as PERCENTILE_CONT of SQL has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from api.measures import cell_key, grouped
from api.reader import Reader
from api.selections import NOT_HELD_OUT, Question, Select, first_conversions, of_live_events, of_role
from api.slices import Binder, Slice, bucket_sql
from schemas.metrics import Dimension, Metric
from schemas.taxonomy.pack import Freshness, Pack

PROMISED: Final[Mapping[str, int]] = {"target": 95, "acceptable": 99, "grace": 100}
"""For how many of a hundred events each promise of the taxonomy is."""
SHOWN: Final[Mapping[str, float]] = {"p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}


@dataclass(frozen=True)
class Observed:
    """What is observed of each row: `value` (SQL, whole numbers), of which `per` are one unit of the metric.

    Without a `value`, users are observed: how many rows each has. `promised`: the pack promises how long it takes, by
    event type, in seconds.
    """

    roles: tuple[str, ...]
    select: Select
    value: str
    per: int = 1
    promised: bool = False

    def known_to(self, pack: Pack) -> bool:
        """Whether the pack declares what this observes."""
        return all(pack.roles.get(role) for role in self.roles)


OBSERVED: Final[Mapping[str, Observed]] = {
    "time_to_conversion": Observed(("impression", "conversion"), first_conversions, "waited_ms", 3_600_000),
    "deliveries_per_user": Observed(("impression",), of_role("impression", NOT_HELD_OUT), ""),
    "lag": Observed(
        (), of_live_events, "toUnixTimestamp64Milli(inserted_at) - toUnixTimestamp64Milli(timestamp)", 1000, True
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
        """`value` (the metric's own quantile), quartiles, p95, most, a histogram, and as `numerator` how many.

        Where the pack promises something, also how that is kept (`promise`).
        """
        nothing = {
            "value": None,
            "numerator": 0,
            "denominator": None,
            **dict.fromkeys(SHOWN),
            "max": None,
            "histogram": histogram(self.metric.buckets, [0] * len(self.metric.buckets), 0),
        }
        promise = {"promise": None} if OBSERVED[self.metric.measures.numerator].promised else {}
        return {**nothing, **promise, **self.cells.get((group, point), {})}


def histogram(ends: Sequence[float], up_to: Sequence[int], count: int) -> list[dict[str, Any]]:
    """Bars out of how many lie up to each end, and how many there are; the last bar has no end."""
    bars = [n - before for n, before in zip([*up_to, count], [0, *up_to], strict=True)]
    return [{"up_to": end, "count": n} for end, n in zip([*ends, None], bars, strict=True)]


async def read_distributions(reader: Reader, metric: Metric, asked: Slice, pack: Pack) -> Distributions:
    """The quantiles of a range, its groups and its points. Raises what the reader raises."""
    cells: dict[tuple[str | None, int | None], Mapping[str, Any]] = {}
    per, bars = OBSERVED[metric.measures.numerator].per, len(metric.buckets)
    limits = _limits(metric, pack)
    for aggregated, group, point, count, most, quantiles, up_to in await reader.rows(*statement(metric, asked, pack)):
        if not int(count):
            continue
        key, counts = cell_key(aggregated, group, point), [int(n) for n in up_to]
        value, *shown = (float(one) / per for one in quantiles)
        named = dict(zip(SHOWN, shown, strict=True))
        cells[key] = {
            "value": value, "numerator": int(count), **named, "max": int(most) / per,
            "histogram": histogram(metric.buckets, counts[:bars], int(count)),
        }  # fmt: skip
        event = pack.events.get(str(asked.filters.get(Dimension.EVENT_TYPE, key[0])))
        if limits and event:
            within = dict(zip(limits, counts[bars:], strict=True))
            cells[key] = {**cells[key], "promise": promise(event.freshness, within, int(count))}
    return Distributions(metric, cells)


def promise(promised: Freshness, within: Mapping[float, int], count: int) -> dict[str, Any]:
    """Of each promise the seconds, the share that it is for, the share that kept it, and whether that is enough.

    `within`: how many of `count` took at most so many seconds.
    """
    told = {}
    for name, share in PROMISED.items():
        seconds = float(getattr(promised, name))
        told[name] = {
            "seconds": seconds,
            "percent": share,
            "within_percent": 100 * within[seconds] / count,
            "kept": within[seconds] * 100 >= share * count,
        }
    return told


def _limits(metric: Metric, pack: Pack) -> list[float]:
    """The seconds that the pack promises for any event type, where that is what is observed."""
    if not OBSERVED[metric.measures.numerator].promised:
        return []
    return sorted({float(getattr(one.freshness, name)) for one in pack.events.values() for name in PROMISED})


def statement(metric: Metric, asked: Slice, pack: Pack) -> tuple[str, dict[str, object]]:
    """The SELECT of a metric's quantiles, with its bound values."""
    observed, bind = OBSERVED[metric.measures.numerator], Binder()
    rows = observed.select(bind, Question(asked, pack, frozenset(), exact_rows=True))
    quantiles = f"quantilesExactInclusive({', '.join(map(str, (metric.quantile, *SHOWN.values())))})"
    ends = [round(end * observed.per) for end in (*metric.buckets, *_limits(metric, pack))]
    if observed.value:
        up_to = ", ".join(f"countIf({observed.value} <= {end})" for end in ends)
        numbers = f"count(), max({observed.value}), {quantiles}({observed.value}), [{up_to}]"
    else:
        each = "mapValues(sumMap(map(user_id, toUInt64(1))))"
        up_to = ", ".join(f"arrayCount(n -> n <= {end}, {each})" for end in ends)
        numbers = f"length({each}), arrayMax({each}), arrayReduce('{quantiles}', {each}), [{up_to}]"
    point = bucket_sql(asked.interval) if asked.interval else "toInt64(0)"
    return grouped(rows, asked, numbers, point), bind.params
