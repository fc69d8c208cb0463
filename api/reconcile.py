"""Another tool's numbers beside ours: for each row the same day, metric and dimensions, and what may explain the rest.

Nothing of the file is stored. Rows that ask the same metric of the same dimensions share one read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final

from api.metrics import Answers, MetricReader, known_to
from api.problems import Problem
from api.reconcile_file import Claim, fault
from api.settings import ApiSettings
from api.slices import Interval, Slice
from api.times import iso
from schemas.metrics import Dictionary, Dimension, Metric
from schemas.taxonomy.pack import Pack

DAY: Final = 86_400_000
WORST: Final = 10
MOST_QUESTIONS: Final = 50
_AT_ONCE: Final = 4


class Verdict(StrEnum):
    """What a comparison says of their number."""

    MATCH = "match"
    HIGHER = "higher"
    LOWER = "lower"
    MISSING_HERE = "missing_here"
    UNKNOWN_METRIC = "unknown_metric"


@dataclass(frozen=True)
class Compared:
    """A row with what we have. `ours`: None where we have nothing, or cannot say."""

    claim: Claim
    ours: Fraction | None
    verdict: Verdict

    @property
    def difference(self) -> Fraction | None:
        """Theirs less ours."""
        return None if self.ours is None else self.claim.theirs - self.ours

    @property
    def percent(self) -> Fraction | None:
        """The difference by our number; None where that is 0."""
        return self.difference / abs(self.ours) * 100 if self.ours and self.difference is not None else None

    def shown(self) -> dict[str, Any]:
        """The row of the answer."""
        claim = self.claim
        return {
            "line": claim.line,
            "date": (iso(claim.day_ms) or "")[:10],
            "metric": claim.metric,
            "dimensions": {dimension.value: value for dimension, value in claim.dimensions},
            "theirs": float(claim.theirs),
            "ours": _float(self.ours),
            "difference": _float(self.difference),
            "percent": _float(self.percent),
            "verdict": self.verdict.value,
        }


@dataclass(frozen=True)
class Question:
    """Rows that one slice answers, split by the dimension of which they name most values."""

    metric: Metric
    asked: Slice
    claims: tuple[Claim, ...]


def judge(theirs: Fraction, ours: Fraction | None, tolerance_percent: Fraction) -> Verdict:
    """Nothing here against something there is missing; else the tolerance is a share of our number."""
    if ours is None or (ours == 0 and theirs != 0):
        return Verdict.MISSING_HERE
    if abs(theirs - ours) <= abs(ours) * tolerance_percent / 100:
        return Verdict.MATCH
    return Verdict.HIGHER if theirs > ours else Verdict.LOWER


@dataclass(frozen=True)
class Reconciler:
    """Compares for one tenant. Raises what the reader raises, and problems that name a line."""

    metrics: MetricReader
    dictionary: Dictionary
    settings: ApiSettings
    tenant: str
    pack: Pack
    now_ms: int

    async def compare(self, claims: Sequence[Claim], tolerance_percent: Fraction) -> list[Compared]:
        """Every row, in the order of the file."""
        questions = self.questions(claims)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(one: Question) -> Answers:
            async with gate:
                return await self.metrics.cells(one.metric, one.asked, self.pack)

        answers = await asyncio.gather(*(ask(one) for one in questions))
        found = [Compared(one, None, Verdict.UNKNOWN_METRIC) for one in claims if self._metric(one) is None]
        for question, answer in zip(questions, answers, strict=True):
            for claim in question.claims:
                ours = _ours(answer, question.asked, claim)
                found.append(Compared(claim, ours, judge(claim.theirs, ours, tolerance_percent)))
        return sorted(found, key=lambda one: one.claim.line)

    def questions(self, claims: Sequence[Claim]) -> list[Question]:
        """What to ask, at most 50 slices; rows of unknown metrics are left out."""
        alike: dict[tuple[str, tuple[Dimension, ...]], list[Claim]] = {}
        for claim in claims:
            if metric := self._metric(claim):
                self._check(claim, metric)
                names = tuple(dimension for dimension, _ in claim.dimensions)
                alike.setdefault((metric.id, names), []).append(claim)
        found = [one for (name, names), some in alike.items() for one in self._split(name, names, some)]
        if len(found) > MOST_QUESTIONS:
            detail = f"the file asks {len(found)} different questions, at most {MOST_QUESTIONS} are answered at once; "
            raise Problem(422, "too-much", detail + "send fewer combinations of metrics and dimensions")
        return found

    def _metric(self, claim: Claim) -> Metric | None:
        found = self.dictionary.find(claim.metric)
        return found if found is not None and known_to(found, self.pack) else None

    def _check(self, claim: Claim, metric: Metric) -> None:
        for dimension, _ in claim.dimensions:
            if dimension not in metric.dimensions:
                known = ", ".join(one.value for one in metric.dimensions) or "nothing"
                raise fault(claim.line, dimension.value, f"{metric.id} is not known by {dimension}; it is by {known}")

    def _split(self, name: str, names: Sequence[Dimension], claims: Sequence[Claim]) -> list[Question]:
        metric = self.dictionary.find(name)
        split = max(names, key=lambda one: len({dict(claim.dimensions)[one] for claim in claims}), default=None)
        rest: dict[tuple[tuple[Dimension, str], ...], list[Claim]] = {}
        for claim in claims:
            rest.setdefault(tuple(pair for pair in claim.dimensions if pair[0] is not split), []).append(claim)
        return [self._question(metric, dict(filters), split, some) for filters, some in rest.items() if metric]

    def _question(
        self, metric: Metric, filters: Mapping[Dimension, str], split: Dimension | None, claims: Sequence[Claim]
    ) -> Question:
        start, end = min(one.day_ms for one in claims), max(one.day_ms for one in claims) + DAY
        if end - start > self.settings.max_range_days * DAY:
            raise fault(claims[-1].line, "date", f"the days may span at most {self.settings.max_range_days}")
        asked = Slice(self.tenant, start, end, filters, split, Interval.DAY, self.now_ms)
        return Question(metric, asked, tuple(claims))


def _ours(answer: Answers, asked: Slice, claim: Claim) -> Fraction | None:
    group = dict(claim.dimensions)[asked.group_by] if asked.group_by else None
    value = answer.at(group, claim.day_ms)["value"]
    return None if value is None else Fraction(str(value))


def totals(rows: Sequence[Compared]) -> dict[str, Any]:
    """How many rows got which verdict, and how many of each metric match."""
    by_metric: dict[str, list[Compared]] = {}
    for row in rows:
        by_metric.setdefault(row.claim.metric, []).append(row)
    return {
        "rows": len(rows),
        **{verdict.value: sum(row.verdict is verdict for row in rows) for verdict in Verdict},
        "metrics": [
            {"metric": name, "rows": len(some), "match": sum(row.verdict is Verdict.MATCH for row in some)}
            for name, some in by_metric.items()
        ],
    }


def worst(rows: Sequence[Compared]) -> list[Compared]:
    """The ten rows that are furthest off, in percent of our number; one that is missing here is off by 100."""
    off = [row for row in rows if row.verdict not in (Verdict.MATCH, Verdict.UNKNOWN_METRIC)]
    return sorted(off, key=lambda row: (-_gap(row), row.claim.line))[:WORST]


def _gap(row: Compared) -> Fraction:
    return Fraction(100) if row.percent is None else abs(row.percent)


def _float(number: Fraction | None) -> float | None:
    return None if number is None else float(number)
