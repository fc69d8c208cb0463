"""What KPIs are made of: whole numbers of one period, read in some ten statements, and what follows from them.

Every statement gives one row. A fact whose role the pack lacks is absent; one that cannot be told (who was active on
the last whole day of a range without any) is None.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from api.cells import Cells
from api.measures import MEASURES, read_cells
from api.reader import Reader
from api.rollups.coverage import Coverage
from api.rollups.rosters import ORDERS, roster_rows
from api.selections import Question, session_days
from api.slices import BEGINNING, Binder, Interval, Slice
from api.sources import events_where, range_where, signup_rows
from schemas.taxonomy.pack import Pack
from schemas.wire import MICROS

DAY: Final = 86_400_000
MONTH_DAYS: Final = 30
YEAR_DAYS: Final = 365
LENGTH: Final = "session_duration_seconds"
"""The property of session events that holds a session's length so far; `events.session_seconds` is its value."""

Facts = dict[str, Fraction | None]
Select = Callable[[Binder, Slice, Pack, Coverage | None], str]


@dataclass(frozen=True)
class Read:
    """One statement. `facts`: the columns of its row. `money`: those in millionths. `timed`: needs session lengths."""

    roles: tuple[str, ...]
    facts: tuple[str, ...]
    select: Select
    money: frozenset[str] = frozenset()
    timed: bool = False

    def known_to(self, pack: Pack) -> bool:
        """Whether the pack declares what this counts."""
        return all(pack.roles.get(role) for role in self.roles) and (not self.timed or bool(timed_types(pack)))


def timed_types(pack: Pack) -> list[str]:
    """The event types of sessions that carry the length so far."""
    types = {ref.event_type for ref in pack.roles.get("session_start", ())}
    return sorted(one for one in types if LENGTH in pack.events[one].properties)


def whole_days(start_ms: int, end_ms: int) -> range:
    """The numbers, since 1970, of the UTC days that lie inside [start, end) as a whole."""
    return range(-(-start_ms // DAY), end_ms // DAY)


def _activity(bind: Binder, asked: Slice, pack: Pack, _: Coverage | None) -> str:
    days = whole_days(asked.start_ms, asked.end_ms)
    first, last, end = bind.time(days.start * DAY), bind.time((days.stop - 1) * DAY), bind.time(days.stop * DAY)
    month = bind.time(asked.end_ms - MONTH_DAYS * DAY)
    where = f"{events_where(bind, asked.tenant, pack.roles['activity'])} AND {bind.before(asked.end_ms)}"
    numbers = (
        "uniqExact(user_id)",
        f"uniqExactIf(user_id, timestamp >= {bind.time(asked.start_ms)})",
        f"uniqExactIf(user_id, timestamp >= {month})",
        f"uniqExactIf((toDate(timestamp), user_id), timestamp >= {first} AND timestamp < {end})",
        f"uniqExactIf(user_id, timestamp >= {last} AND timestamp < {end})",
    )
    return f"SELECT {', '.join(numbers)} FROM events WHERE {where}"


def _signups(bind: Binder, asked: Slice, pack: Pack, _: Coverage | None) -> str:
    rows = signup_rows(bind, asked.tenant, pack.roles["signup"], ("user_id",), asked.end_ms)
    return f"SELECT count() FROM {rows} WHERE {' AND '.join(range_where(bind, asked))}"


def _sessions(bind: Binder, asked: Slice, pack: Pack, _: Coverage | None) -> str:
    where = [events_where(bind, asked.tenant, pack.roles["session_start"]), *range_where(bind, asked)]
    return f"SELECT count(), uniqExact(user_id) FROM events FINAL WHERE {' AND '.join(where)}"


def _lengths(bind: Binder, asked: Slice, pack: Pack, _: Coverage | None) -> str:
    rows = session_days(bind, Question(asked, pack, frozenset(), exact_rows=False))
    return f"SELECT sum(amount_micros), count() FROM {rows.source}"


def _orders(bind: Binder, asked: Slice, pack: Pack, covered: Coverage | None) -> str:
    start, end = asked.start_ms, asked.end_ms
    before, month = 2 * start - end, end - MONTH_DAYS * DAY
    span = (min(before, month), end)
    orders = roster_rows(bind, ORDERS, asked.tenant, pack, covered, span)
    first, other, since = (bind(ms, "Int64") for ms in (start, before, month))
    now, earlier = f"at >= {first}", f"at >= {other} AND at < {first}"
    customers = (
        f"SELECT min(first) >= {first} AS is_new, countIf({now}) > 0 AS bought, countIf({earlier}) > 0 AS known, "
        f"sumIf(toInt128(amount_micros), {now}) AS paid, sumIf(toInt128(amount_micros), {earlier}) AS paid_before, "
        f"sumIf(toInt128(amount_micros), at >= {since}) AS paid_month FROM {orders} GROUP BY number"
    )
    numbers = (
        "countIf(bought), countIf(is_new), countIf(known), countIf(known AND NOT bought), sum(paid), "
        "sumIf(paid, is_new), sumIf(paid, known), sum(paid_before), sumIf(paid_before, NOT bought), sum(paid_month)"
    )
    return f"SELECT {numbers} FROM ({customers})"


def _amount(role: str) -> Select:
    def select(bind: Binder, asked: Slice, pack: Pack, _: Coverage | None) -> str:
        where = [events_where(bind, asked.tenant, pack.roles[role]), *range_where(bind, asked)]
        return f"SELECT sum(toInt128(amount_micros)) FROM events FINAL WHERE {' AND '.join(where)}"

    return select


_PAID: Final = ("revenue", "new_revenue", "kept_revenue", "previous_revenue", "churned_revenue", "month_revenue")
READS: Final = (
    Read(("activity",), ("users_ever", "active_users", "monthly_users", "daily_users", "last_day_users"), _activity),
    Read(("signup",), ("signups",), _signups),
    Read(("session_start",), ("sessions", "session_users"), _sessions),
    Read(
        ("session_start",),
        ("session_seconds", "timed_sessions"),
        _lengths,
        frozenset({"session_seconds"}),
        timed=True,
    ),
    Read(
        ("purchase",),
        ("buyers", "new_customers", "previous_customers", "lost_customers", *_PAID),
        _orders,
        frozenset(_PAID),
    ),
    Read(("refund",), ("refunds",), _amount("refund"), frozenset({"refunds"})),
    Read(("spend",), ("spend",), _amount("spend"), frozenset({"spend"})),
)
_LTV: Final = ("first_year_revenue", "signed_up_users")


_COUNTED: Final = frozenset({"sessions", "session_users", "session_seconds", "timed_sessions", "signups", "spend"})
"""Facts that are measures of the period, by the same name, which rollups hold."""


async def read_facts(reader: Reader, asked: Slice, pack: Pack, covered: Coverage | None = None) -> Facts:
    """The facts of a period that the pack knows. `covered`: rollups to use. Raises what the reader raises."""
    reads = [_facts_of(reader, read, asked, pack, covered) for read in READS if read.known_to(pack)]
    if all(MEASURES[name].known_to(pack) for name in _LTV):
        reads.append(_ltv(reader, asked, pack, covered))
    facts: Facts = {}
    for found in await asyncio.gather(*reads):
        facts.update(found)
    return derive(facts, asked)


async def _facts_of(reader: Reader, read: Read, asked: Slice, pack: Pack, covered: Coverage | None) -> Facts:
    if covered is not None and read.select is _activity:
        return await _active(reader, asked, pack, covered)
    if covered is not None and {*read.facts} <= _COUNTED:
        measures = [MEASURES[name] for name in read.facts]
        found = await read_cells(reader, measures, asked, pack, 1, covered)
        return {
            name: Fraction(cells.at(), MICROS if measure.money else 1)
            for name, measure, cells in zip(read.facts, measures, found, strict=True)
        }
    return await _read(reader, read, asked, pack, covered)


async def _active(reader: Reader, asked: Slice, pack: Pack, covered: Coverage) -> Facts:
    """`_activity` out of rollups. Spans that are the same are read once, and days together with the range."""
    days, month = whole_days(asked.start_ms, asked.end_ms), asked.end_ms - MONTH_DAYS * DAY

    async def users(start: int) -> Cells:
        question = replace(asked, start_ms=start, interval=Interval.DAY if start == asked.start_ms else None)
        (cells,) = await read_cells(reader, [MEASURES["active_users"]], question, pack, len(days) + 2, covered)
        return cells

    spans = list({BEGINNING, asked.start_ms, month})
    found = dict(zip(spans, await asyncio.gather(*map(users, spans)), strict=True))
    by_day = found[asked.start_ms].series()
    numbers = {
        "users_ever": found[BEGINNING].at(),
        "active_users": found[asked.start_ms].at(),
        "monthly_users": found[month].at(),
        "daily_users": sum(by_day.get(day * DAY, 0) for day in days),
        "last_day_users": by_day.get((days.stop - 1) * DAY, 0) if days else 0,
    }
    return {name: Fraction(n) for name, n in numbers.items()}


async def _read(reader: Reader, read: Read, asked: Slice, pack: Pack, covered: Coverage | None) -> Facts:
    bind = Binder()
    (row,) = await reader.rows(read.select(bind, asked, pack, covered), bind.params)
    return {
        name: Fraction(int(n), MICROS if name in read.money else 1) for name, n in zip(read.facts, row, strict=True)
    }


async def _ltv(reader: Reader, asked: Slice, pack: Pack, covered: Coverage | None) -> Facts:
    year = replace(asked, start_ms=asked.end_ms - YEAR_DAYS * DAY, known_ms=asked.end_ms)
    paid, people = await read_cells(reader, [MEASURES[name] for name in _LTV], year, pack, 1, covered)
    return {"ltv_revenue": Fraction(paid.at(), MICROS), "ltv_users": Fraction(people.at())}


_DERIVED: Final[Mapping[str, tuple[tuple[str, ...], Callable[..., Fraction | None]]]] = {
    "monthly_user_days": (("monthly_users", "whole_days"), lambda users, days: users * days),
    "session_minutes": (("session_seconds",), lambda seconds: seconds / 60),
    "returning_revenue": (("revenue", "new_revenue"), lambda all_, new: all_ - new),
    "net_revenue": (("revenue", "refunds"), lambda paid, back: paid - back),
    "run_rate_year": (("month_revenue",), lambda month: month * YEAR_DAYS / MONTH_DAYS),
    "ltv": (("ltv_revenue", "ltv_users"), lambda paid, users: paid / users if users else None),
    "cac": (("spend", "new_customers"), lambda spend, new: spend / new if new else None),
}
"""Facts that follow from others, by what they need."""

FACTS: Final = frozenset(
    {*(n for read in READS for n in read.facts), "ltv_revenue", "ltv_users", "whole_days", *_DERIVED}
)
"""Every fact that a KPI may name."""


def derive(facts: Facts, asked: Slice) -> Facts:
    """The facts that were read, with those that follow."""
    days = len(whole_days(asked.start_ms, asked.end_ms))
    found: Facts = {**facts, "whole_days": Fraction(days)}
    if not days and "last_day_users" in found:
        found["last_day_users"] = None
    for name, (needs, follow) in _DERIVED.items():
        if all(need in found for need in needs):
            found[name] = follow(*(found[need] for need in needs))
    return found
