"""How cohorts differ, and which differences are worth a sentence. Pure arithmetic; nothing here reads.

Shares are compared by the two-proportion z-test with the pooled share, a cohort against all the others together; its
p-value is multiplied by the number of cohorts compared (Bonferroni), because the best of twelve is best by chance too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from schemas.cohorts import CohortRules


class Cell(NamedTuple):
    """A month of a cohort: users whose month is over (at least one), and those of them who were retained in it."""

    users: int
    active: int

    @property
    def rate(self) -> Fraction:
        """Percent."""
        return Fraction(100 * self.active, self.users)


class Cohort(NamedTuple):
    """`cells`: by month from 0 on; None where the month is not over."""

    id: str
    name: str
    size: int
    cells: tuple[Cell | None, ...]


def average(cohorts: Sequence[Cohort], months: int) -> list[Cell | None]:
    """All cohorts together, by month: each cohort that has the month, weighted by its users."""
    return [_together([one.cells[month] for one in cohorts]) for month in range(months + 1)]


def _together(cells: Sequence[Cell | None]) -> Cell | None:
    shown = [cell for cell in cells if cell]
    return Cell(sum(cell.users for cell in shown), sum(cell.active for cell in shown)) if shown else None


def p_value(one: Cell, other: Cell) -> float | None:
    """Of two shares, two-sided; None where nobody or everybody on both sides was retained."""
    share = Fraction(one.active + other.active, one.users + other.users)
    variance = share * (1 - share) * (Fraction(1, one.users) + Fraction(1, other.users))
    if not variance:
        return None
    return math.erfc(abs(float((one.rate - other.rate) / 100)) / math.sqrt(2 * variance))


class _Compared(NamedTuple):
    """A cohort's month beside the average; `p`: against all other cohorts, corrected."""

    cohort: Cohort
    month: int
    cell: Cell
    average: Fraction
    p: float

    @property
    def difference(self) -> Fraction:
        return self.cell.rate - self.average


def _compared(cohorts: Sequence[Cohort], month: int, rules: CohortRules) -> list[_Compared]:
    """Those cohorts that are large enough, in a month."""
    whole = _together([one.cells[month] for one in cohorts])
    found = []
    for one in cohorts:
        cell = one.cells[month]
        if whole is None or cell is None:
            continue
        rest = Cell(whole.users - cell.users, whole.active - cell.active)
        if min(cell.users, rest.users) >= rules.min_users:
            p = p_value(cell, rest)
            found.append(_Compared(one, month, cell, whole.rate, 1.0 if p is None else p))
    return [one._replace(p=min(1.0, one.p * len(found))) for one in found]


def benchmarks(cohorts: Sequence[Cohort], months: int, rules: CohortRules) -> dict[str, dict[str, Any]]:
    """By cohort: points above the average by month, and a verdict at the last declared month that allows one."""
    means = average(cohorts, months)
    last: dict[str, _Compared] = {}
    for month in _declared(months, rules):
        last |= {one.cohort.id: one for one in _compared(cohorts, month, rules)}
    return {one.id: _benchmark(one, means, last.get(one.id), rules) for one in cohorts}


def _benchmark(one: Cohort, means: Sequence[Cell | None], last: _Compared | None, rules: CohortRules) -> dict[str, Any]:
    differences = {
        f"month{month}": float(cell.rate - mean.rate) if cell and mean else None
        for month, (cell, mean) in enumerate(zip(one.cells, means, strict=True))
    }
    return {
        "retentionVsAverage": differences,
        "cohortPerformance": _verdict(last, rules) if last else None,
        "month": last.month if last else None,
        "p_value": last.p if last else None,
    }


def _declared(months: int, rules: CohortRules) -> list[int]:
    return [month for month in rules.months if month <= months]


def _verdict(compared: _Compared, rules: CohortRules) -> str:
    if compared.p >= rules.alpha or not compared.difference:
        return "average"
    return "above_average" if compared.difference > 0 else "below_average"


def insights(cohorts: Sequence[Cohort], months: int, rules: CohortRules) -> list[dict[str, Any]]:
    """What stands out: the best and the worst cohort of each declared month, low retention, the largest drop."""
    found = [one for month in _declared(months, rules) for one in _extremes(_compared(cohorts, month, rules), rules)]
    found += _low(cohorts, months, rules)
    return [*found, *_largest_drop(cohorts, months, rules)]


def _extremes(compared: Sequence[_Compared], rules: CohortRules) -> Iterator[dict[str, Any]]:
    clear = sorted((one for one in compared if one.p < rules.alpha), key=lambda one: (one.difference, one.cohort.id))
    if clear and clear[-1].difference > 0:
        yield _sentence("best_cohort", clear[-1], "most")
    if clear and clear[0].difference < 0:
        yield _sentence("worst_cohort", clear[0], "fewest")


def _sentence(kind: str, one: _Compared, most: str) -> dict[str, Any]:
    text = (
        f"{one.cohort.name} kept the {most} in month {one.month}: {_points(one.cell.rate)} % of {one.cell.users} "
        f"users, {_points(abs(one.difference))} points {'above' if one.difference > 0 else 'below'} the average of "
        f"{_points(one.average)} %."
    )
    return _insight(kind, one.cohort.id, one.month, one.cell, one.average, text, one.p)


def _low(cohorts: Sequence[Cohort], months: int, rules: CohortRules) -> Iterator[dict[str, Any]]:
    """Cohorts that are below the declared share, and by more than chance (one-sided z-test against that share)."""
    month, below = rules.low_retention.month, Fraction(str(rules.low_retention.below))
    if month > months:
        return
    large = [(one, cell) for one in cohorts if (cell := one.cells[month]) and cell.users >= rules.min_users]
    for one, cell in large:
        error = math.sqrt(below / 100 * (1 - below / 100) / cell.users)
        p = min(1.0, math.erfc(float((below - cell.rate) / 100) / error / math.sqrt(2)) / 2 * len(large))
        if p < rules.alpha:
            text = (
                f"Of {one.name}, {_points(cell.rate)} % of {cell.users} users were left in month {month}, "
                f"{_points(below - cell.rate)} points below the limit of {_points(below)} %."
            )
            yield _insight("low_retention", one.id, month, cell, below, text, p)


def _largest_drop(cohorts: Sequence[Cohort], months: int, rules: CohortRules) -> Iterator[dict[str, Any]]:
    """From one month to the next, from month 1 on, over the cohorts that have both; month 0 has the sign-up itself."""
    drops = []
    for month in range(2, months + 1):
        pairs = [(one.cells[month - 1], one.cells[month]) for one in cohorts]
        both = [(before, after) for before, after in pairs if before and after]
        before, after = _together([one for one, _ in both]), _together([one for _, one in both])
        if before and after and after.users >= rules.min_users:
            drops.append((before.rate - after.rate, -month, before, after))
    if not drops:
        return
    drop, at, before, after = max(drops)
    p = p_value(before, after)
    p = None if p is None else min(1.0, p * len(drops))
    if drop > 0 and p is not None and p < rules.alpha:
        text = (
            f"The largest drop is from month {-at - 1} to month {-at}: {_points(before.rate)} % to "
            f"{_points(after.rate)} %, {_points(drop)} points."
        )
        yield _insight("largest_drop", None, -at, after, before.rate, text, p)


def _insight(
    kind: str, cohort: str | None, month: int, cell: Cell, beside: Fraction, text: str, p: float
) -> dict[str, Any]:
    """`average`: what the value stands beside: the average, the limit, or the month before."""
    return {
        "kind": kind,
        "cohort": cohort,
        "month": month,
        "value": float(cell.rate),
        "average": float(beside),
        "difference": float(cell.rate - beside),
        "users": cell.users,
        "p_value": p,
        "text": text,
    }


def _points(number: Fraction) -> str:
    return f"{float(number):.1f}"
