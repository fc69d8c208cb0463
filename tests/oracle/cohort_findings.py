"""What may be said of cohorts, once more: plain counts, fractions and the error function; it shares only the rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

MONTHS = (1, 3, 6)
LEAST = 100
ALPHA = 0.05
LIMIT_MONTH, LIMIT = 3, 50

Counts = tuple[int, int]
"""Users, and those of them who were there."""
Grid = Mapping[str, list[Counts | None]]
"""By cohort the counts of its months; None where a month is not shown."""


def percent(counts: Counts) -> Fraction:
    return Fraction(100 * counts[1], counts[0])


def beyond(z: float) -> float:
    """The chance that a standard normal number is further from 0, on one side."""
    return math.erfc(z / math.sqrt(2)) / 2


def two_shares(one: Counts, other: Counts) -> float:
    """Two-sided p of the z-test with the pooled share; 1 where it cannot differ."""
    (n, k), (m, j) = one, other
    pooled = (k + j) / (n + m)
    if k + j in (0, n + m):
        return 1.0
    return 2 * beyond(abs(k / n - j / m) / math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m)))


def together(cells: list[Counts | None]) -> Counts | None:
    shown = [one for one in cells if one is not None]
    return (sum(n for n, _ in shown), sum(k for _, k in shown)) if shown else None


class Beside(NamedTuple):
    """A cohort in a month that it is compared in; `p` corrected."""

    month: int
    counts: Counts
    mean: Fraction
    p: float

    @property
    def above(self) -> Fraction:
        return percent(self.counts) - self.mean


def compared(grid: Grid, month: int) -> dict[str, Beside]:
    """Those of whom there are enough, and enough others."""
    known = {name: cell for name, cells in grid.items() if (cell := cells[month]) is not None}
    everyone = together(list(known.values()))
    found = {}
    for name, (n, k) in known.items():
        others = (sum(c[0] for x, c in known.items() if x != name), sum(c[1] for x, c in known.items() if x != name))
        if n >= LEAST and others[0] >= LEAST and everyone:
            found[name] = Beside(month, (n, k), percent(everyone), two_shares((n, k), others))
    return {name: one._replace(p=min(1.0, len(found) * one.p)) for name, one in found.items()}


def benchmark(grid: Grid, name: str) -> dict[str, Any]:
    """The `benchmark` of a cohort."""
    months = len(grid[name])
    points: dict[str, float | None] = {}
    for month, cell in enumerate(grid[name]):
        mean = together([cells[month] for cells in grid.values()])
        points[f"month{month}"] = float(percent(cell) - percent(mean)) if cell and mean else None
    last = [one for month in MONTHS if month < months and (one := compared(grid, month).get(name))][-1:]
    verdict = None
    for one in last:
        sure = one.p < ALPHA
        verdict = (
            "above_average" if sure and one.above > 0 else "below_average" if sure and one.above < 0 else "average"
        )
    return {
        "retentionVsAverage": points,
        "cohortPerformance": verdict,
        "month": last[0].month if last else None,
        "p_value": last[0].p if last else None,
    }


def insights(grid: Grid) -> list[dict[str, Any]]:
    """Every sentence's numbers, in the order that they are told in."""
    months = max((len(cells) for cells in grid.values()), default=0)
    found = [one for month in MONTHS if month < months for one in _extremes(compared(grid, month))]
    return [*found, *(_low(grid) if months > LIMIT_MONTH else []), *_drop(grid, months)]


def _told(kind: str, name: str | None, month: int, counts: Counts, beside: Fraction, p: float) -> dict[str, Any]:
    return {
        "kind": kind, "cohort": name, "month": month, "value": float(percent(counts)), "average": float(beside),
        "difference": float(percent(counts) - beside), "users": counts[0], "p_value": p,
    }  # fmt: skip


def _extremes(month: Mapping[str, Beside]) -> list[dict[str, Any]]:
    sure = {name: one for name, one in month.items() if one.p < ALPHA}
    best = max((n for n in sure if sure[n].above > 0), key=lambda n: (sure[n].above, n), default=None)
    worst = min((n for n in sure if sure[n].above < 0), key=lambda n: (sure[n].above, n), default=None)
    return [
        _told(kind, name, sure[name].month, sure[name].counts, sure[name].mean, sure[name].p)
        for kind, name in (("best_cohort", best), ("worst_cohort", worst))
        if name is not None
    ]


def _low(grid: Grid) -> list[dict[str, Any]]:
    """One-sided, each against the limit."""
    large = {name: cell for name, cells in grid.items() if (cell := cells[LIMIT_MONTH]) and cell[0] >= LEAST}
    found = []
    for name, (n, k) in large.items():
        z = (LIMIT / 100 - k / n) / math.sqrt(LIMIT / 100 * (1 - LIMIT / 100) / n)
        p = min(1.0, beyond(z) * len(large))
        if p < ALPHA:
            found.append(_told("low_retention", name, LIMIT_MONTH, (n, k), Fraction(LIMIT), p))
    return found


def _drop(grid: Grid, months: int) -> list[dict[str, Any]]:
    """Of the cohorts that have both months; the first of drops that are equal."""
    pairs: list[tuple[Fraction, int, Counts, Counts]] = []
    for month in range(2, months):
        both = [(a, b) for cells in grid.values() if (a := cells[month - 1]) and (b := cells[month])]
        before, after = together([a for a, _ in both]), together([b for _, b in both])
        if before and after and after[0] >= LEAST:
            pairs.append((percent(before) - percent(after), month, before, after))
    if not pairs:
        return []
    lost, month, before, after = max(pairs, key=lambda one: (one[0], -one[1]))
    p = min(1.0, two_shares(before, after) * len(pairs))
    if lost <= 0 or p >= ALPHA:
        return []
    return [_told("largest_drop", None, month, after, percent(before), p)]
