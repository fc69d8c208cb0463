"""A funnel's answer: users step by step, rates and times, split and beside another one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from api.funnels.rows import FunnelQuestion
from api.funnels.statement import statement
from api.ledger import INCOMPLETE_BELOW, LedgerReader
from api.reader import Reader, Row
from api.rollups.coverage import Coverage
from api.times import iso

_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True)
class Named:
    """A question with the names of its steps, and what the answer calls it."""

    id: str
    name: str
    steps: tuple[str, ...]
    asked: FunnelQuestion


async def answer(
    reader: Reader, ledger: LedgerReader, named: Named, other: Named | None, covered: Coverage | None = None
) -> dict[str, Any]:
    """The JSON object of the funnel endpoint. Raises what the reader raises. `covered`: rollups that may be used."""
    asked = named.asked
    shown, beside, completeness, as_of = await asyncio.gather(
        _shown(reader, named, covered),
        _compared(reader, other, covered),
        ledger.completeness(asked.tenant, asked.start_ms, asked.end_ms),
        ledger.as_of(asked.tenant),
    )
    if other:
        rates = shown["overallConversionRate"], beside["overallConversionRate"]
        beside["difference"] = None if None in rates else rates[0] - rates[1]
        shown["comparison"] = beside
    return {
        **shown,
        "completeness": round(completeness, 4),
        "incomplete": completeness < INCOMPLETE_BELOW,
        "as_of": iso(as_of),
    }


async def _compared(reader: Reader, other: Named | None, covered: Coverage | None) -> dict[str, Any]:
    return await _shown(reader, replace(other, asked=replace(other.asked, split=None)), covered) if other else {}


async def _shown(reader: Reader, named: Named, covered: Coverage | None) -> dict[str, Any]:
    asked = named.asked
    whole, split = await asyncio.gather(
        reader.rows(*statement(replace(asked, split=None), covered)),
        reader.rows(*statement(asked)) if asked.split else _nothing(),
    )
    found: dict[str, Any] = {
        "funnelType": named.id,
        "name": named.name,
        "start": iso(asked.start_ms),
        "end": iso(asked.end_ms),
        "window_hours": float(Fraction(asked.window_ms, _HOUR_MS)),
        "settled": asked.end_ms + asked.window_ms <= asked.known_ms,
        "filters": {dimension.value: str(value) for dimension, value in asked.filters.items()},
        **_counted(whole[0] if whole else None, named.steps),
    }
    if asked.split:
        found["segmentBy"] = asked.split.value
        found["segments"] = [{"segmentName": row[0], **_counted(row, named.steps)} for row in split]
    return found


async def _nothing() -> list[Row]:
    return []


def _counted(row: Row | None, names: Sequence[str]) -> dict[str, Any]:
    """`funnel` and what is said of it as a whole; `row`: see `api.funnels.statement.statement`."""
    _, users, sums, quantiles, whole, whole_quantiles = row or ("", (), (), (), 0, ())
    users = [*map(int, users), *([0] * (len(names) - len(users)))]
    steps = []
    for at, name in enumerate(names):
        rate = _percent(users[at], users[at - 1] if at else users[0])
        timed = at + 1 < len(names) and users[at + 1] > 0
        steps.append(
            {
                "step": name,
                "stepNumber": at + 1,
                "users": users[at],
                "conversionRate": rate,
                "dropoffRate": None
                if rate is None
                else _percent(users[at - 1] - users[at], users[at - 1])
                if at
                else 0.0,
                "rateFromFirst": _percent(users[at], users[0]),
                **_times("ToNextStep", (sums[at], users[at + 1], quantiles[at]) if timed else None),
            }
        )
    return {
        "funnel": steps,
        "overallConversionRate": _percent(users[-1], users[0]),
        **_times("ToComplete", (whole, users[-1], whole_quantiles) if users[-1] else None),
    }


def _times(what: str, known: tuple[int, int, Sequence[float]] | None) -> Mapping[str, float | None]:
    """Mean, median and p90 in hours of (sum in ms, how many, median and p90 in ms)."""
    names = (f"avgTime{what}", f"medianTime{what}", f"p90Time{what}")
    if known is None:
        return dict.fromkeys(names)
    total, n, quantiles = known
    median, p90 = (float(one) / _HOUR_MS for one in quantiles)
    return dict(zip(names, (float(Fraction(int(total), n * _HOUR_MS)), median, p90), strict=True))


def _percent(above: int, below: int) -> float | None:
    return float(Fraction(above * 100, below)) if below else None
