"""The executive KPIs of a period, beside those of another. Pure apart from reading; definitions are `schemas.kpis`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any

from api.kpi_facts import FACTS, Facts, read_facts
from api.ledger import INCOMPLETE_BELOW, LedgerReader
from api.reader import Reader
from api.rollups.coverage import Coverage
from api.slices import Slice
from api.times import iso
from schemas.errors import ConfigError
from schemas.kpis import Kpi, Kpis, Part, Unit
from schemas.taxonomy.pack import Pack


class Compare(StrEnum):
    """What a period is held against."""

    PREVIOUS_PERIOD = "previous_period"
    PREVIOUS_YEAR = "previous_year"


@dataclass(frozen=True)
class Result:
    """A KPI's value, exact, with what it was divided from, or, of a score, its parts. None: cannot be told."""

    value: Fraction | None
    numerator: Fraction | None = None
    denominator: Fraction | None = None
    parts: tuple[tuple[Part, Fraction | None, Fraction | None], ...] = ()
    """Of each part: the KPI's value and the points for it, 0 to 100."""


def check_facts(declared: Kpis) -> None:
    """Raise ConfigError when a KPI names a fact that does not exist."""
    for kpi in declared.kpis:
        for name in (kpi.numerator, kpi.denominator):
            if name is not None and name not in FACTS:
                raise ConfigError(f"there is no fact {name!r}; known: {', '.join(sorted(FACTS))}", key=f"kpis.{kpi.id}")


def results(declared: Kpis, facts: Facts) -> dict[str, Result]:
    """Every KPI whose facts are known, by id, in the order of the declaration."""
    plain = {kpi.id: one for kpi in declared.kpis if (one := _quotient(kpi, facts))}
    found = {kpi.id: plain.get(kpi.id) or _score(kpi, plain) for kpi in declared.kpis}
    return {name: one for name, one in found.items() if one}


def _quotient(kpi: Kpi, facts: Facts) -> Result | None:
    names = [name for name in (kpi.numerator, kpi.denominator) if name is not None]
    if not names or any(name not in facts for name in names):
        return None
    above = facts[names[0]]
    if kpi.denominator is None:
        return Result(above, above)
    below = facts[kpi.denominator]
    scale = 100 if kpi.unit is Unit.PERCENT else 1
    return Result(above / below * scale if below and above is not None else None, above, below)


def _score(kpi: Kpi, known: Mapping[str, Result]) -> Result | None:
    if not kpi.parts or any(part.kpi not in known for part in kpi.parts):
        return None
    parts = tuple((part, value := known[part.kpi].value, _points(part, value)) for part in kpi.parts)
    told = [(part.weight, points) for part, _, points in parts if points is not None]
    weights = sum(weight for weight, _ in told)
    return Result(sum((w * p for w, p in told), Fraction(0)) / weights if weights else None, parts=parts)


def _points(part: Part, value: Fraction | None) -> Fraction | None:
    return None if value is None else max(Fraction(0), min(Fraction(100), value / Fraction(str(part.full)) * 100))


def compared(now: Fraction | None, then: Fraction | None) -> dict[str, float | int | None]:
    """The other period's value, the change since, and that in percent of its size; null where nothing can be told."""
    change = now - then if now is not None and then is not None else None
    percent = change / abs(then) * 100 if change is not None and then else None
    return {"value": plain(then), "change": plain(change), "changePercent": None if percent is None else float(percent)}


def other_period(asked: Slice, compare: Compare) -> Slice:
    """The period that `asked` is held against, as long as it."""
    length = asked.end_ms - asked.start_ms
    start = asked.start_ms - length if compare is Compare.PREVIOUS_PERIOD else _year_before(asked.start_ms)
    return replace(asked, start_ms=start, end_ms=start + length)


def _year_before(ms: int) -> int:
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    day = 28 if (moment.month, moment.day) == (2, 29) else moment.day
    return int(moment.replace(year=moment.year - 1, day=day).timestamp()) * 1000 + ms % 1000


async def answer(
    reader: Reader,
    ledger: LedgerReader,
    declared: Kpis,
    asked: Slice,
    pack: Pack,
    compare: Compare | None,
    covered: Coverage | None = None,
) -> dict[str, Any]:
    """The answer of the endpoint, as plain data. `covered`: rollups to use. Raises what the reader raises."""
    other = other_period(asked, compare) if compare else None
    facts, then, completeness, as_of = await asyncio.gather(
        read_facts(reader, asked, pack, covered),
        _facts(reader, other, pack, covered),
        ledger.completeness(asked.tenant, asked.start_ms, asked.end_ms),
        ledger.as_of(asked.tenant),
    )
    found, earlier = results(declared, facts), results(declared, then)
    return {
        "period": _period(asked),
        "kpis": {name: plain(one.value) for name, one in found.items()},
        "details": {kpi.id: _detail(kpi, found[kpi.id]) for kpi in declared.kpis if kpi.id in found},
        "comparison": {name: compared(one.value, earlier[name].value) for name, one in found.items()}
        if other
        else None,
        "comparison_period": {"compare": compare, **_period(other)} if other else None,
        "definitions": {kpi.id: _definition(kpi) for kpi in declared.kpis if kpi.id in found},
        "start": iso(asked.start_ms),
        "end": iso(asked.end_ms),
        "as_of": iso(as_of),
        "completeness": round(completeness, 4),
        "incomplete": completeness < INCOMPLETE_BELOW,
    }


async def _facts(reader: Reader, asked: Slice | None, pack: Pack, covered: Coverage | None) -> Facts:
    return await read_facts(reader, asked, pack, covered) if asked else {}


def _period(asked: Slice) -> dict[str, str | None]:
    return {"startDate": iso(asked.start_ms), "endDate": iso(asked.end_ms)}


def _definition(kpi: Kpi) -> dict[str, str]:
    return {"name": kpi.name, "definition": kpi.definition, "formula": kpi.formula}


def _detail(kpi: Kpi, one: Result) -> dict[str, Any]:
    shown: dict[str, Any] = {"value": plain(one.value), "unit": kpi.unit.value}
    if not kpi.parts:
        return {**shown, "numerator": plain(one.numerator), "denominator": plain(one.denominator)}
    return {
        **shown,
        "parts": [
            {"kpi": part.kpi, "value": plain(value), "points": plain(points), "declared": part.model_dump()}
            for part, value, points in one.parts
        ],
    }


def plain(number: Fraction | None) -> int | float | None:
    """A number as JSON has it: whole where it is whole, else the nearest float."""
    if number is None:
        return None
    return int(number) if number.denominator == 1 else float(number)
