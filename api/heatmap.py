"""When users are engaged: events and people by day of the week and hour, in a time zone, as often as the hour came.

A cell is judged by what an hour of it brings on average, so a range that holds five Mondays and four Tuesdays does not
favour Mondays, and the hour that comes twice in autumn counts as two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final

from api.ledger import INCOMPLETE_BELOW, LedgerReader
from api.reader import Reader
from api.selections import Question, Select, of_role, orders
from api.slices import Binder, Filter, Slice
from api.times import iso
from api.weeks import DAYS, HOUR, exposure
from schemas.heatmap import Heatmap
from schemas.metrics import Dimension
from schemas.taxonomy.pack import Pack


class HeatMetric(StrEnum):
    """What is counted."""

    ACTIVITY = "activity"
    ACTIVE_USERS = "active_users"
    OPENS = "opens"
    CLICKS = "clicks"
    PURCHASES = "purchases"


@dataclass(frozen=True)
class Source:
    """The rows of a metric. `by_campaign`: its rows where a campaign is asked about, if they are others."""

    role: str
    select: Select
    campaign_role: str = ""
    by_campaign: Select | None = None

    def known_to(self, pack: Pack) -> bool:
        """Whether the pack declares what is counted."""
        return all(pack.roles.get(role) for role in (self.role, self.campaign_role) if role)


_ACTIVITY: Final = Source("activity", of_role("activity"))
SOURCES: Final[Mapping[HeatMetric, Source]] = {
    HeatMetric.ACTIVITY: _ACTIVITY,
    HeatMetric.ACTIVE_USERS: _ACTIVITY,
    HeatMetric.OPENS: Source("open", of_role("open")),
    HeatMetric.CLICKS: Source("click", of_role("click")),
    HeatMetric.PURCHASES: Source(
        "purchase", orders("purchase", by_campaign=False), "conversion", orders("conversion", by_campaign=True)
    ),
}


@dataclass(frozen=True)
class Cell:
    """An hour of the week: events, people, and how long it was seen, in ms. `value`: what the metric counts of them."""

    place: int
    count: int
    users: int
    seen: int
    value: int

    @property
    def per_hour(self) -> Fraction | None:
        """What an hour of it brought, on average; None where it never came."""
        return Fraction(self.value * HOUR, self.seen) if self.seen else None

    @property
    def name(self) -> str:
        """`monday 07:00`."""
        return f"{DAYS[self.place // 24]} {self.place % 24:02d}:00"


@dataclass(frozen=True)
class Week:
    """The 168 cells of one question, judged. `events`, `people`: of the whole range, each once."""

    cells: tuple[Cell, ...]
    events: int
    people: int
    declared: Heatmap

    def judged(self) -> list[Cell]:
        """The cells that were seen long enough."""
        return [cell for cell in self.cells if cell.seen >= self.declared.least_hours * HOUR]

    @property
    def most(self) -> Fraction:
        """What the busiest of them brings in an hour; 0 of nothing."""
        return max((cell.per_hour or Fraction(0) for cell in self.judged()), default=Fraction(0))

    def share(self, cell: Cell) -> Fraction | None:
        """Of the busiest cell, 0 to 1; None where nothing can be said."""
        if not self.most or cell.per_hour is None or cell.seen < self.declared.least_hours * HOUR:
            return None
        return cell.per_hour / self.most

    def level(self, cell: Cell) -> str | None:
        """The highest level that the cell's share reaches."""
        share = self.share(cell)
        reached = [one.id for one in self.declared.levels if share is not None and share * 100 >= one.from_percent]
        return reached[-1] if reached else None

    def ranked(self, level: str, *, busiest: bool) -> list[Cell]:
        """The cells of a level, busiest or quietest first, those of the same share by their place."""
        sign = -1 if busiest else 1
        found = [cell for cell in self.judged() if self.level(cell) == level]
        return sorted(found, key=lambda cell: (sign * (self.share(cell) or 0), cell.place))

    def shown(self) -> dict[str, Any]:
        """Totals, the grid, and what stands out."""
        low, high, most = self.declared.levels[0].id, self.declared.levels[-1].id, self.declared.listed
        peaks, quiet = self.ranked(high, busiest=True), self.ranked(low, busiest=False)
        return {
            "count": self.events,
            "users": self.people,
            "cells": [self._cell(cell) for cell in self.cells],
            "peaks": [self._cell(cell) for cell in peaks[:most]],
            "peak_cells": len(peaks),
            "quiet": [self._cell(cell) for cell in quiet[:most]],
            "quiet_cells": len(quiet),
        }

    def _cell(self, cell: Cell) -> dict[str, Any]:
        share, per_hour = self.share(cell), cell.per_hour
        return {
            "day": DAYS[cell.place // 24],
            "hour": cell.place % 24,
            "count": cell.count,
            "users": cell.users,
            "hours": cell.seen / HOUR,
            "per_hour": None if per_hour is None else float(per_hour),
            "share_of_peak": None if share is None else float(share),
            "level": self.level(cell),
        }


async def read_week(reader: Reader, metric: HeatMetric, asked: Slice, zone: str, pack: Pack, declared: Heatmap) -> Week:
    """The cells of a question. Raises what the reader raises."""
    counted = {
        int(place): (int(n), int(people))
        for place, n, people in await reader.rows(*statement(metric, asked, zone, pack))
    }
    seen = exposure(asked.start_ms, asked.end_ms, zone)
    column = 1 if metric is HeatMetric.ACTIVE_USERS else 0
    found = [counted.get(place, (0, 0)) for place in range(len(seen))]
    cells = tuple(Cell(place, *pair, seen[place], pair[column]) for place, pair in enumerate(found))
    return Week(cells, *counted.get(-1, (0, 0)), declared)


def statement(metric: HeatMetric, asked: Slice, zone: str, pack: Pack) -> tuple[str, dict[str, object]]:
    """The SELECT of (hour of the week, events, people), with -1 for the whole range."""
    source, bind = SOURCES[metric], Binder()
    select = (source.by_campaign if asked.touches_campaigns else None) or source.select
    rows = select(bind, Question(asked, pack, frozenset({"user_id"}), exact_rows=True))
    at = bind(zone)
    place = f"toInt16((toDayOfWeek(timestamp, 0, {at}) - 1) * 24 + toHour(timestamp, {at}))"
    inner = f"SELECT {place} AS place, user_id FROM {rows.source} WHERE {' AND '.join(rows.conditions)}"
    return (
        "SELECT if(grouping(place) = 1, -1, place), count(), uniqExact(user_id) "
        f"FROM ({inner}) GROUP BY GROUPING SETS ((place), ())",
        bind.params,
    )


async def answer(
    reader: Reader,
    ledger: LedgerReader,
    declared: Heatmap,
    metric: HeatMetric,
    asked: Slice,
    zone: str,
    pack: Pack,
    compare_segment: Filter | None,
) -> dict[str, Any]:
    """The answer of the endpoint. Raises what the reader raises."""
    other = replace(asked, filters={**asked.filters, Dimension.SEGMENT: compare_segment}) if compare_segment else None
    week, second, completeness, as_of = await asyncio.gather(
        read_week(reader, metric, asked, zone, pack, declared),
        _second(reader, metric, other, zone, pack, declared),
        ledger.completeness(asked.tenant, asked.start_ms, asked.end_ms),
        ledger.as_of(asked.tenant),
    )
    return {
        "metric": metric.value,
        "timezone": zone,
        **week.shown(),
        "insights": insights(week, zone),
        "comparison": {"segment": str(compare_segment), **second.shown(), **overlap(week, second)} if second else None,
        "declared": declared.model_dump(),
        "start": iso(asked.start_ms),
        "end": iso(asked.end_ms),
        "as_of": iso(as_of),
        "completeness": round(completeness, 4),
        "incomplete": completeness < INCOMPLETE_BELOW,
    }


async def _second(
    reader: Reader, metric: HeatMetric, asked: Slice | None, zone: str, pack: Pack, declared: Heatmap
) -> Week | None:
    return await read_week(reader, metric, asked, zone, pack, declared) if asked else None


def overlap(week: Week, other: Week) -> dict[str, list[str]]:
    """The peak hours that both have, and those of one alone."""
    peak = week.declared.levels[-1].id
    ours, theirs = ({cell.place: cell.name for cell in one.ranked(peak, busiest=True)} for one in (week, other))
    return {
        "shared_peaks": [ours[place] for place in sorted(ours.keys() & theirs.keys())],
        "own_peaks": [theirs[place] for place in sorted(theirs.keys() - ours.keys())],
    }


def insights(week: Week, zone: str) -> list[str]:
    """What the grid says in words, with the numbers behind it; nothing about nothing."""
    if not week.most:
        return []
    low, high = week.declared.levels[0].id, week.declared.levels[-1].id
    peaks, quiet = week.ranked(high, busiest=True), week.ranked(low, busiest=False)
    first = peaks[0]
    said = [f"Busiest: {first.name.capitalize()} ({zone}) with {in_words(week.most)} an hour."]
    mean = _mean(week.judged())
    if mean:
        said.append(f"That is {in_words(week.most / mean)} times the mean of {in_words(mean)} an hour.")
    said.append(f"{len(peaks)} of {len(week.judged())} hours of the week are at the level {high}.")
    for name, days in (("Weekdays", DAYS[:5]), ("Weekends", DAYS[5:])):
        cells = [cell for cell in week.judged() if DAYS[cell.place // 24] in days]
        best = max(cells, key=lambda cell: (cell.per_hour or 0, -cell.place), default=None)
        if best is not None and best.per_hour:
            said.append(
                f"{name} bring {in_words(_mean(cells))} an hour; their busiest is {best.name.capitalize()} with "
                f"{in_words(best.per_hour)}."
            )
    if quiet:
        share = Fraction(sum(cell.value for cell in quiet), sum(cell.value for cell in week.cells)) * 100
        said.append(f"{len(quiet)} hours are at the level {low}; together they bring {in_words(share)} % of it all.")
    return said


def in_words(number: Fraction) -> str:
    """A number in a sentence: whole from 100 on, else with at most two digits after the point."""
    if number >= 100:
        return f"{round(number):,}"
    if 0 < number < Fraction(1, 100):
        return "less than 0.01"
    return f"{float(number):.2f}".rstrip("0").rstrip(".")


def _mean(cells: Sequence[Cell]) -> Fraction:
    seen = sum(cell.seen for cell in cells)
    return Fraction(sum(cell.value for cell in cells) * HOUR, seen) if seen else Fraction(0)
