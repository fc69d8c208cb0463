"""A cohort's answer: who stayed month by month, what they paid, and how each cohort stands beside the others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from api.cohort_insights import Cell, Cohort, average, benchmarks, insights
from api.cohort_sql import CohortBy, CohortQuestion, RetainedBy, monthly, sizes
from api.ledger import INCOMPLETE_BELOW, LedgerReader
from api.problems import invalid
from api.reader import Reader, Row
from api.rollups.coverage import Coverage
from api.times import iso
from schemas.cohorts import CohortRules
from schemas.wire import MICROS

Paid = Mapping[tuple[str, int], int]
"""Millionths by cohort and month."""


async def answer(
    reader: Reader,
    ledger: LedgerReader,
    asked: CohortQuestion,
    rules: CohortRules,
    retained_by: RetainedBy,
    with_revenue: bool,
    covered: Coverage | None = None,
) -> dict[str, Any]:
    """The JSON object of the cohort endpoint. `covered`: rollups to use.

    Raises what the reader raises, and a 422 problem for too many cohorts.
    """
    wanted = {retained_by, *([RetainedBy.PURCHASE] if with_revenue else [])}
    size_rows, found, completeness, as_of = await asyncio.gather(
        reader.rows(*sizes(asked, rules.max_cohorts + 1, covered)),
        _monthly(reader, asked, sorted(wanted), covered),
        ledger.completeness(asked.tenant, asked.start_ms, asked.end_ms),
        ledger.as_of(asked.tenant),
    )
    if len(size_rows) > rules.max_cohorts:
        raise invalid("cohort_by", f"gives more than {rules.max_cohorts} cohorts; ask for a shorter range")
    cohorts = _cohorts(asked, size_rows, found[retained_by])
    beside = benchmarks(cohorts, asked.months, rules)
    paid = {(str(row[0]), int(row[1])): int(row[3]) for row in found.get(RetainedBy.PURCHASE, ())}
    return {
        "cohortBy": asked.by.value,
        "metric": "revenue" if with_revenue else "retention",
        "retained_by": retained_by.value,
        "start": iso(asked.start_ms),
        "end": iso(asked.end_ms),
        "cohorts": [_shown(one, beside[one.id], paid if with_revenue else None) for one in cohorts],
        "averageRetention": _by_month([_rate(cell) for cell in average(cohorts, asked.months)]),
        "insights": insights(cohorts, asked.months, rules),
        "completeness": round(completeness, 4),
        "incomplete": completeness < INCOMPLETE_BELOW,
        "as_of": iso(as_of),
    }


async def _monthly(
    reader: Reader, asked: CohortQuestion, wanted: Sequence[RetainedBy], covered: Coverage | None
) -> dict[RetainedBy, Sequence[Row]]:
    rows = await asyncio.gather(*(reader.rows(*monthly(asked, what, covered)) for what in wanted))
    return dict(zip(wanted, rows, strict=True))


def _cohorts(asked: CohortQuestion, size_rows: Sequence[Row], active_rows: Sequence[Row]) -> list[Cohort]:
    """A month is shown of a month's cohort once it is over for all of it, of any other for those whose it is over."""
    active = {(str(row[0]), int(row[1])): int(row[2]) for row in active_rows}
    found = []
    for name, size, over in size_rows:
        cells: list[Cell | None] = []
        for month, users in enumerate(map(int, over)):
            shown = users == int(size) if asked.by is CohortBy.SIGNUP_MONTH else users > 0
            cells.append(Cell(users, active.get((name, month), 0)) if shown else None)
        found.append(Cohort(name, _name(asked.by, name), int(size), tuple(cells)))
    return found


def _name(by: CohortBy, value: str) -> str:
    if by is CohortBy.SIGNUP_MONTH:
        return f"{datetime.strptime(value, '%Y-%m'):%B %Y}"
    return value or "(none)"


def _shown(one: Cohort, benchmark: Mapping[str, Any], paid: Paid | None) -> dict[str, Any]:
    found = {
        "cohortId": one.id,
        "cohortName": one.name,
        "cohortSize": one.size,
        "retention": _by_month([_rate(cell) for cell in one.cells]),
        "counts": _by_month([cell._asdict() if cell else None for cell in one.cells]),
        "benchmark": benchmark,
    }
    if paid is not None:
        cells = enumerate(one.cells)
        known = [(Fraction(paid.get((one.id, at), 0), MICROS), cell.users) if cell else None for at, cell in cells]
        found["revenue"] = _by_month([float(pair[0]) if pair else None for pair in known])
        found["revenue_per_user"] = _by_month([float(pair[0] / pair[1]) if pair else None for pair in known])
    return found


def _rate(cell: Cell | None) -> float | None:
    return float(cell.rate) if cell else None


def _by_month(values: Sequence[Any]) -> dict[str, Any]:
    return {f"month{month}": value for month, value in enumerate(values)}
