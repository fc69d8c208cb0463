"""A metric's answer: two measures, divided once and exactly, with where it stands and how complete its data is."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, NamedTuple, Self

from api.attribution.spread import SPREAD, Spreads, read_spreads
from api.attribution.spread import known_to as attributable
from api.cells import Cells
from api.comparison import Against, compared, earlier, period
from api.distributions import OBSERVED, Distributions, read_distributions
from api.evaluated import EVALUATED, Evaluations, read_evaluations
from api.expected import ExpectedReader
from api.experiments import ROLES, Experiments, read_experiments
from api.ledger import INCOMPLETE_BELOW, LedgerReader
from api.lift import ESTIMATES
from api.measures import MEASURES, Measure, read_cells
from api.operated import OPERATED, read_operations
from api.outliers import outliers
from api.reader import Reader
from api.rollups.standing import CoverageReader
from api.settings import Prices
from api.shared_reads import SharedReads
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


_NAMED: Final[Mapping[Kind, Collection[str]]] = {
    Kind.DISTRIBUTION: OBSERVED.keys(),
    Kind.EVALUATION: EVALUATED,
    Kind.OPERATION: OPERATED.keys(),
    Kind.ATTRIBUTION: SPREAD,
}
"""What a metric of these kinds may name as its measures."""


def check_measures(dictionary: Dictionary) -> None:
    """Raise ConfigError when a metric names a measure that does not exist."""
    for metric in dictionary.metrics:
        if metric.kind is Kind.EXPERIMENT:
            _check(metric.id, ESTIMATES, "experiment", f"metrics.{metric.id}.kind")
            continue
        for pair in (metric.measures, metric.by_campaign):
            for name in (pair.numerator, pair.denominator) if pair else ():
                if name is not None:
                    known = _NAMED.get(metric.kind, MEASURES.keys())
                    what = metric.kind.value if metric.kind in _NAMED else "measure"
                    _check(name, known, what, f"metrics.{metric.id}.measures")


def _check(name: str, known: Collection[str], what: str, key: str) -> None:
    if name not in known:
        raise ConfigError(f"there is no {what} {name!r}; known: {', '.join(sorted(known))}", key=key)


def known_to(metric: Metric, pack: Pack) -> bool:
    """Whether a pack declares everything that the metric counts."""
    if metric.kind is Kind.EXPERIMENT:
        return all(pack.roles.get(role) for role in ROLES)
    if metric.kind is Kind.ATTRIBUTION:
        return attributable(pack)
    if metric.kind in (Kind.EVALUATION, Kind.OPERATION):
        return True
    if metric.kind is Kind.DISTRIBUTION:
        return OBSERVED[metric.measures.numerator].known_to(pack)
    return all(
        MEASURES[name].known_to(pack) for name in (metric.measures.numerator, metric.measures.denominator) if name
    )


def by_people(metric: Metric) -> bool:
    """Whether everything that the metric counts is about a user, so that users can be chosen."""
    if metric.kind is not Kind.QUOTIENT:
        return True
    names = (metric.measures.numerator, metric.measures.denominator)
    return not any(MEASURES[name].by_range for name in names if name)


def _by_campaign(metric: Metric, asked: Slice) -> bool:
    """Whether groups are counted as campaigns are, where a metric has measures of its own for these."""
    splits = metric.by_campaign is not None and asked.group_by in _CAMPAIGN_SPLITS
    return asked.touches_campaigns or splits


def status(metric: Metric, value: float | None) -> str | None:
    """`healthy`, `low` or `high` by the dictionary's range; None without a value or a range."""
    low, high = metric.healthy.min, metric.healthy.max
    if value is None or (low is None and high is None):
        return None
    if low is not None and value < low:
        return "low"
    return "high" if high is not None and value > high else "healthy"


Numbers = Sequence[int | float | None]


@dataclass(frozen=True)
class Quotients:
    """Numerators over denominators, by group and point of the series. `scale`: that of the unit. Money: millionths."""

    scale: int
    above: Cells
    below: Cells | None = None
    above_money: bool = False
    below_money: bool = False

    def groups(self) -> set[str]:
        """The groups that have anything on either side."""
        return {group for group in (*self.above, *(self.below or ())) if group is not None}

    def at(self, group: str | None, point: int | None) -> dict[str, Any]:
        """`value`, `numerator` and `denominator` of a cell. Whole numbers until the one rounding of a division."""
        (value,), (above,), (below,) = self.along(group, [point])
        return {"value": value, "numerator": above, "denominator": below}

    def along(self, group: str | None, points: Sequence[int | None]) -> tuple[Numbers, Numbers, Numbers]:
        """Values, numerators and denominators of a group at some points."""
        above = self.above.along(group, points)
        shown: Numbers = [_in_money(n) for n in above] if self.above_money else above
        if self.below is None:
            return shown, shown, [None] * len(points)
        below, times, by = self.below.along(group, points), self._times, self._by
        values = [n * times / (of * by) if of else None for n, of in zip(above, below, strict=True)]
        return values, shown, [_in_money(n) for n in below] if self.below_money else below

    @cached_property
    def _times(self) -> int:
        return self.scale * (MICROS if self.below_money else 1)

    @cached_property
    def _by(self) -> int:
        return MICROS if self.above_money else 1


Answers = Quotients | Experiments | Distributions | Evaluations | Spreads
"""What a metric of any kind is at each group and point."""


def _in_money(micros: int) -> int | float:
    whole, rest = divmod(micros, MICROS)
    return micros / MICROS if rest else whole


def _age(now_ms: int | None, as_of: int | None) -> float | None:
    """Seconds since the newest event was stored."""
    return None if now_ms is None or as_of is None else max(0.0, (now_ms - as_of) / 1000)


class MetricReader:
    """Answers metrics of one dictionary."""

    def __init__(
        self,
        reader: Reader,
        ledger: LedgerReader,
        expected: ExpectedReader,
        limits: Limits,
        coverage: CoverageReader | None = None,
        prices: Prices | None = None,
    ) -> None:
        """`coverage`: where rollups are used; without it every number is counted from the events."""
        self._prices = prices or Prices()
        self._reader, self._ledger, self._expected, self._limits = reader, ledger, expected, limits
        self._coverage = coverage

    def together(self) -> Self:
        """One that answers a single question about several metrics: what they have in common is read once."""
        found = copy(self)
        found._reader = SharedReads(self._reader)
        return found

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
            "series": _series(whole, None, self._points(asked)),
        }
        if before and then:
            answer["comparison"] = {**period(before), **compared(total, then[0].at(None, None))}
        return answer

    async def cells(self, metric: Metric, asked: Slice, pack: Pack) -> Answers:
        """What the metric is at each group and point of a slice. Raises what the reader raises."""
        return await self._pair(metric, _by_campaign(metric, asked), asked, pack)

    async def _as_of(self, tenant: str, known: int | None) -> int | None:
        return known if known is not None else await self._ledger.as_of(tenant)

    async def _answers(self, metric: Metric, asked: Slice, pack: Pack) -> tuple[Answers, Answers | None]:
        """In total, and by group where a split is asked for. Cells of a split hold its total, if it counts the same."""
        split = self.cells(metric, asked, pack) if asked.group_by else None
        if split and metric.kind is Kind.QUOTIENT and _by_campaign(metric, asked) is asked.touches_campaigns:
            both = await split
            return both, both
        whole = self._pair(metric, asked.touches_campaigns, asked.without_split(), pack)
        if split is None:
            return await whole, None
        total, parts = await asyncio.gather(whole, split)
        return total, parts

    async def _earlier_answers(
        self, metric: Metric, before: Slice | None, pack: Pack
    ) -> tuple[Answers, Answers | None] | None:
        return await self._answers(metric, before, pack) if before else None

    async def _pair(self, metric: Metric, campaigns: bool, asked: Slice, pack: Pack) -> Answers:
        match metric.kind:
            case Kind.QUOTIENT:
                return await self._quotients(metric, campaigns, asked, pack)
            case Kind.OPERATION:
                grown, by = await read_operations(self._reader, metric, asked, self._prices)
                money = OPERATED[metric.measures.numerator]
                found: Answers = Quotients(metric.unit.scale, grown, by, above_money=money)
            case Kind.EXPERIMENT:
                found = await read_experiments(self._reader, metric, asked, pack)
            case Kind.EVALUATION:
                found = await read_evaluations(self._reader, metric, asked)
            case Kind.DISTRIBUTION:
                found = await read_distributions(self._reader, metric, asked, pack)
            case Kind.ATTRIBUTION:
                points = [point.at for point in self._points(asked)]
                found = await read_spreads(self._reader, asked, pack, points)
        return found

    async def _quotients(self, metric: Metric, campaigns: bool, asked: Slice, pack: Pack) -> Quotients:
        pair = metric.by_campaign if campaigns and metric.by_campaign else metric.measures
        above = MEASURES[pair.numerator]
        if pair.denominator is None:
            (counted,) = await self._cells([above], asked, pack)
            return Quotients(metric.unit.scale, counted, above_money=above.money)
        below = MEASURES[pair.denominator]
        counted, by = await self._cells([above, below], asked, pack)
        return Quotients(metric.unit.scale, counted, by, above_money=above.money, below_money=below.money)

    async def _cells(self, measures: Sequence[Measure], asked: Slice, pack: Pack) -> list[Cells]:
        covered = await self._coverage.of(asked.tenant, pack) if self._coverage else None
        return await read_cells(self._reader, measures, asked, pack, self._limits.buckets, covered)

    def _groups(self, split: Answers, then: Answers | None, asked: Slice, limit: int) -> list[dict[str, Any]]:
        names = split.groups() | (then.groups() if then else set())
        found = [{"group": group, **split.at(group, None)} for group in names]
        found.sort(key=lambda one: (-one["numerator"], -(one["denominator"] or 0), one["group"]))
        found = found[: min(limit, self._limits.groups)]
        points = self._points(asked)
        for one in found:
            if then:
                one["comparison"] = compared(one, then.at(one["group"], None))
            if asked.interval:
                one["series"] = _series(split, one["group"], points)
        return found

    def _points(self, asked: Slice) -> list[_Point]:
        if asked.interval is None:
            return []
        until = min(asked.end_ms, asked.followed_ms)
        return [
            _Point(at, iso(at), asked.start_ms <= at and following(asked.interval, at) <= until)
            for at in buckets(asked.interval, asked.start_ms, asked.end_ms, self._limits.buckets) or []
        ]


class _Point(NamedTuple):
    """A point of a series: its start in ms and as text, and whether the range holds all of it."""

    at: int
    start: str | None
    whole: bool


def _series(pair: Answers, group: str | None, points: Sequence[_Point]) -> list[dict[str, Any]]:
    if isinstance(pair, Quotients):
        values, above, below = pair.along(group, [point.at for point in points])
        judged = _judged(values, points)
        return [
            {
                "start": start, "value": value, "numerator": n, "denominator": of, "partial": not whole, "outlier": far,
            }
            for (_, start, whole), value, n, of, far in zip(points, values, above, below, judged, strict=True)
        ]  # fmt: skip
    series = [{"start": point.start, **pair.at(group, point.at)} for point in points]
    judged = _judged([one["value"] for one in series], points)
    for one, point, far in zip(series, points, judged, strict=True):
        one["partial"], one["outlier"] = not point.whole, far
    return series


def _judged(values: Sequence[int | float | None], points: Sequence[_Point]) -> list[bool]:
    """Which points are outliers; a point that the range has a part of is not compared."""
    return outliers([value if point.whole else None for value, point in zip(values, points, strict=True)])
