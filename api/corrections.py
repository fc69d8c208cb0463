"""What moved: numbers of closed days that were counted again because events came late or were taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from api.measures import MEASURES
from api.reader import Reader
from api.rollups.families import FAMILIES
from api.slices import Binder
from api.times import iso
from schemas.metrics import Dictionary, Metric
from schemas.taxonomy.pack import Pack
from schemas.wire import MICROS

_COLUMNS: Final = (
    "toUnixTimestamp64Milli(found_at)", "toString(day)", "family", "dimension", "value", "events_before",
    "events_after", "micros_before", "micros_after", "users_before", "users_after",
)  # fmt: skip


async def correction_rows(
    reader: Reader,
    tenant: str,
    metrics: Mapping[str, Sequence[str]],
    start_ms: int,
    end_ms: int,
    *,
    limit: int,
    offset: int = 0,
) -> tuple[list[dict[str, Any]], int]:
    """Corrections found in [start, end), newest first, and how many there are. `metrics`: as of `metrics_by_family`."""
    bind = Binder()
    where = f"tenant = {bind(tenant)} AND found_at >= {bind.time(start_ms)} AND found_at < {bind.time(end_ms)}"
    sql = (
        f"SELECT count() OVER (), {', '.join(_COLUMNS)} FROM corrections FINAL WHERE {where} "
        "ORDER BY found_at DESC, day, family, dimension, value "
        f"LIMIT {bind(limit, 'UInt32')} OFFSET {bind(offset, 'UInt32')}"
    )
    rows = await reader.rows(sql, bind.params)
    return [_correction(row[1:], metrics) for row in rows], int(rows[0][0]) if rows else 0


def metrics_by_family(dictionary: Dictionary, pack: Pack) -> dict[str, list[str]]:
    """Which metrics of the dictionary each family of rollups can move."""
    found: dict[str, list[str]] = {family.id: [] for family in FAMILIES.values() if family.known_to(pack)}
    for metric in dictionary.metrics:
        for name in _families(metric) & found.keys():
            found[name].append(metric.id)
    return found


def _families(metric: Metric) -> set[str]:
    pairs = [pair for pair in (metric.measures, metric.by_campaign) if pair]
    measures = [MEASURES.get(name) for pair in pairs for name in (pair.numerator, pair.denominator) if name]
    return {measure.family.id for measure in measures if measure and measure.family}


def _correction(row: Sequence[Any], metrics: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    found_at, day, name, dimension, value, *numbers = row
    events, micros, users = (tuple(map(int, numbers[at : at + 2])) for at in (0, 2, 4))
    family = FAMILIES.get(name)
    return {
        "found_at": iso(int(found_at)),
        "day": day,
        "counted": name,
        "metrics": list(metrics.get(name, ())),
        "dimension": dimension or None,
        "value": value if dimension else None,
        "events": _moved(events),
        "amount": _moved(micros, MICROS) if family and family.money else None,
        "users": _moved(users) if family and family.users else None,
    }


def _moved(numbers: Sequence[int], unit: int = 1) -> dict[str, float]:
    """The change is between whole numbers, so that that of money has the digits of its sides."""
    before, after = numbers
    found: dict[str, float] = {"before": before, "after": after, "change": after - before}
    return {name: number / unit for name, number in found.items()} if unit > 1 else found
