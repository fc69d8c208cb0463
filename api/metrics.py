"""A metric's answer: two measures, divided once and exactly, with where it stands and how complete its data is."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from api.comparison import Against, compared, earlier, period
from api.distributions import OBSERVED, Distributions, read_distributions
from api.evaluated import EVALUATED, Evaluations, read_evaluations
from api.expected import ExpectedReader
from api.experiments import ROLES, Experiments, read_experiments
from api.ledger import INCOMPLETE_BELOW, LedgerReader
from api.lift import ESTIMATES
from api.measures import MEASURES, Cells, Measure, read_cells
from api.outliers import outliers
from api.reader import Reader
from api.slices import Slice, buckets, following
from api.times import iso
from schemas.errors import ConfigError
from schemas.metrics import Dictionary, Dimension, Kind, Metric
from schemas.taxonomy.pack import Pack
from schemas.wire import MICROS

_CAMPAIGN_SPLITS = (Dimension.CAMPAIGN, Dimension.CREATIVE)


@dataclass(frozen=True)
class Limits:
    """Most points of a series and most groups of a split."""

    buckets: int
    groups: int


def check_measures(dictionary: Dictionary) -> None:
    """Raise ConfigError when a metric names a measure that does not exist."""
    for metric in dictionary.metrics:
        if metric.kind is Kind.EXPERIMENT:
            _check(metric.id, ESTIMATES, "experiment", f"metrics.{metric.id}.kind")
            continue
        if metric.kind is Kind.EVALUATION:
            _check(metric.measures.numerator, EVALUATED, "evaluation", f"metrics.{metric.id}.measures")
            continue
        if metric.kind is Kind.DISTRIBUTION:
            _check(metric.measures.numerator, OBSERVED, "distribution", f"metrics.{metric.id}.measures")
            continue
        for pair in (metric.measures, metric.by_campaign):
            for name in (pair.numerator, pair.denominator) if pair else ():
                if name is not None:
                    _check(name, MEASURES, "measure", f"metrics.{metric.id}.measures")


def _check(name: str, known: Collection[str], what: str, key: str) -> None:
    if name not in known:
        raise ConfigError(f"there is no {what} {name!r}; known: {', '.join(sorted(known))}", key=key)


def known_to(metric: Metric, pack: Pack) -> bool:
    """Whether a pack declares everything that the metric counts."""
    if metric.kind is Kind.EXPERIMENT:
        return all(pack.roles.get(role) for role in ROLES)
    if metric.kind is Kind.EVALUATION:
        return True
    if metric.kind is Kind.DISTRIBUTION:
        return OBSERVED[metric.measures.numerator].known_to(pack)
    return all(
        MEASURES[name].known_to(pack) for name in (metric.measures.numerator, metric.measures.denominator) if name
    )


def status(metric: Metric, value: float | None) -> str | None:
    """`healthy`, `low` or `high` by the dictionary's range; None without a value or a range."""
    low, high = metric.healthy.min, metric.healthy.max
    if value is None or (low is None and high is None):
        return None
    if low is not None and value < low:
        return "low"
    return "high" if high is not None and value > high else "healthy"


@dataclass(frozen=True)
class Quotients:
    """Numerators over denominators, by group and point of the series. `scale`: that of the unit."""

    scale: int
    above: Measure
    above_cells: Cells
    below: Measure | None = None
    below_cells: Cells = field(default_factory=dict)

    def groups(self) -> set[str]:
        """The groups that have anything on either side."""
        return {group for group, _ in (*self.above_cells, *self.below_cells) if group is not None}

    def at(self, group: str | None, point: int | None) -> dict[str, Any]:
        """`value`, `numerator` and `denominator` of a cell. Exact until the one rounding to a float."""
        above = _exact(self.above, self.above_cells.get((group, point), 0))
        if self.below is None:
            return {"value": _plain(above), "numerator": _plain(above), "denominator": None}
        below = _exact(self.below, self.below_cells.get((group, point), 0))
        value = float(above / below * self.scale) if below else None
        return {"value": value, "numerator": _plain(above), "denominator": _plain(below)}


Answers = Quotients | Experiments | Distributions | Evaluations
"""What a metric of any kind is at each group and point."""


def _exact(measure: Measure, n: int) -> Fraction:
    return Fraction(n, MICROS) if measure.money else Fraction(n)


def _plain(number: Fraction) -> int | float:
    return int(number) if number.denominator == 1 else float(number)


def _age(now_ms: int | None, as_of: int | None) -> float | None:
    """Seconds since the newest event was stored."""
    return None if now_ms is None or as_of is None else max(0.0, (now_ms - as_of) / 1000)


class MetricReader:
    """Answers metrics of one dictionary."""

    def __init__(self, reader: Reader, ledger: LedgerReader, expected: ExpectedReader, limits: Limits) -> None:
        self._reader, self._ledger, self._expected, self._limits = reader, ledger, expected, limits

    async def answer(
        self,
        metric: Metric,
        asked: Slice,
        pack: Pack,
        limit: int = 100,
        known_as_of: int | None = None,
        against: Against | None = None,
    ) -> dict[str, Any]:
        """The JSON object of the metric endpoint. Raises what the reader raises.

        `limit`: most groups. `known_as_of`: milliseconds, by a caller who has just read it.
        """
        before = replace(earlier(asked, against), interval=None) if against else None
        (whole, split), then, completeness, expected, as_of = await asyncio.gather(
            self._answers(metric, asked, pack),
            self._earlier_answers(metric, before, pack),
            self._ledger.completeness(asked.tenant, asked.start_ms, asked.end_ms),
            self._expected.of(asked.tenant, asked.start_ms, asked.end_ms),
            self._as_of(asked.tenant, known_as_of),
        )
        total = whole.at(None, None)
        answer = {
            "metric": metric.id,
            "name": metric.name,
            "unit": metric.unit.value,
            **total,
            "completeness": round(completeness, 4),
            "incomplete": completeness < INCOMPLETE_BELOW or expected.low,
            "expected": expected.as_json(),
            "as_of": iso(as_of),
            "age_seconds": _age(asked.known_ms, as_of),
            "start": iso(asked.start_ms),
            "end": iso(asked.end_ms),
            "healthy": metric.healthy.model_dump(),
            "status": status(metric, total["value"]),
            "groups": self._groups(split, then[1] if then else None, asked, limit) if split else [],
            "series": self._series(whole, asked, None),
        }
        if before and then:
            answer["comparison"] = {**period(before), **compared(total, then[0].at(None, None))}
        return answer

    async def cells(self, metric: Metric, asked: Slice, pack: Pack) -> Answers:
        """What the metric is at each group and point of a slice. Raises what the reader raises."""
        campaigns = asked.touches_campaigns or asked.group_by in _CAMPAIGN_SPLITS
        return await self._pair(metric, campaigns, asked, pack)

    async def _as_of(self, tenant: str, known: int | None) -> int | None:
        return known if known is not None else await self._ledger.as_of(tenant)

    async def _answers(self, metric: Metric, asked: Slice, pack: Pack) -> tuple[Answers, Answers | None]:
        """In total, and by group where a split is asked for."""
        whole = self._pair(metric, asked.touches_campaigns, asked.without_split(), pack)
        if asked.group_by is None:
            return await whole, None
        total, split = await asyncio.gather(whole, self.cells(metric, asked, pack))
        return total, split

    async def _earlier_answers(
        self, metric: Metric, before: Slice | None, pack: Pack
    ) -> tuple[Answers, Answers | None] | None:
        return await self._answers(metric, before, pack) if before else None

    async def _pair(self, metric: Metric, campaigns: bool, asked: Slice, pack: Pack) -> Answers:
        if metric.kind is Kind.EXPERIMENT:
            return await read_experiments(self._reader, metric, asked, pack)
        if metric.kind is Kind.EVALUATION:
            return await read_evaluations(self._reader, metric, asked)
        if metric.kind is Kind.DISTRIBUTION:
            return await read_distributions(self._reader, metric, asked, pack)
        pair = metric.by_campaign if campaigns and metric.by_campaign else metric.measures
        scale = metric.unit.scale
        above = MEASURES[pair.numerator]
        if pair.denominator is None:
            return Quotients(scale, above, (await self._cells([above], asked, pack))[0])
        below = MEASURES[pair.denominator]
        cells = await self._cells([above, below], asked, pack)
        return Quotients(scale, above, cells[0], below, cells[1])

    async def _cells(self, measures: Sequence[Measure], asked: Slice, pack: Pack) -> list[Cells]:
        return await read_cells(self._reader, measures, asked, pack, self._limits.buckets)

    def _groups(self, split: Answers, then: Answers | None, asked: Slice, limit: int) -> list[dict[str, Any]]:
        names = split.groups() | (then.groups() if then else set())
        found = [{"group": group, **split.at(group, None)} for group in names]
        found.sort(key=lambda one: (-one["numerator"], -(one["denominator"] or 0), one["group"]))
        found = found[: min(limit, self._limits.groups)]
        for one in found:
            if then:
                one["comparison"] = compared(one, then.at(one["group"], None))
            if asked.interval:
                one["series"] = self._series(split, asked, one["group"])
        return found

    def _series(self, pair: Answers, asked: Slice, group: str | None) -> list[dict[str, Any]]:
        if asked.interval is None:
            return []
        points = buckets(asked.interval, asked.start_ms, asked.end_ms, self._limits.buckets) or []
        series = [{"start": iso(point), **pair.at(group, point)} for point in points]
        until = min(asked.end_ms, asked.followed_ms)
        whole = [asked.start_ms <= point and following(asked.interval, point) <= until for point in points]
        judged = outliers([one["value"] if is_whole else None for one, is_whole in zip(series, whole, strict=True)])
        for one, is_whole, is_outlier in zip(series, whole, judged, strict=True):
            one["partial"], one["outlier"] = not is_whole, is_outlier
        return series
