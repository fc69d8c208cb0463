"""How a question is answered from rollups: whole days that are counted, and the events of what else is in its range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from api.rollups.counted import NO_USERS, Days, days_where, numbered
from api.rollups.coverage import Coverage
from api.rollups.families import Family
from api.selections import Question
from api.slices import BEGINNING, Binder, Interval, Members, Slice, bucket_sql, floor
from schemas.taxonomy.pack import Pack

INTERVALS: Final = (None, Interval.DAY, Interval.WEEK, Interval.MONTH)
"""Points that whole days make up."""
EVENTS, MICROS, USERS = "events", "micros", "people"
_PARTS: Final = {
    EVENTS: {"events": "sum(r.events)"},
    MICROS: {"micros": "sum(r.micros)"},
    USERS: {"users": "groupBitmapMergeState(r.users)", "fresh": "groupUniqArrayArray(r.fresh)"},
}
"""How the numbers of a family are put together; users without a number yet are told by their ids."""
_WHOLE: Final = {EVENTS: "sum(events)", MICROS: "sum(micros)", USERS: "groupBitmapMerge(users) + uniqExactArray(fresh)"}
_EACH: Final = {EVENTS: "events", MICROS: "micros", USERS: "finalizeAggregation(users) + length(fresh)"}
"""What they are over a whole range, and at one point."""


@dataclass(frozen=True)
class Plan:
    """Which days come from the rollups of a family; `raw`: the question of what is read from the events."""

    family: Family
    days: Days
    raw: Slice
    to_date: bool


def plan(family: Family | None, asked: Slice, covered: Coverage | None, *, to_date: bool) -> Plan | None:
    """How to answer from rollups; None where they cannot, or hold none of the range."""
    if family is None or covered is None or asked.interval not in INTERVALS or len(asked.filters) > 1:
        return None
    if any(isinstance(value, Members) for value in asked.filters.values()):
        return None
    used = {*asked.filters, *([asked.group_by] if asked.group_by else [])}
    if len(used) > 1 or not used <= set(family.dimensions):
        return None
    days, pieces = covered.split(BEGINNING if to_date else asked.start_ms, asked.end_ms, family.reach)
    return Plan(family, days, replace(asked, pieces=pieces), to_date) if days else None


def statement(made: Plan, pack: Pack, numbers: Sequence[str]) -> tuple[str, dict[str, object]]:
    """The SELECT of `numbers` (EVENTS, MICROS, USERS), with its bound values; rows as of `api.measures.statement`."""
    bind, asked = Binder(), made.raw
    rows = [_counted(bind, made, USERS in numbers)]
    if asked.pieces:
        rows.append(_events(bind, made, pack, numbers))
    source, points = " UNION ALL ".join(rows), "emptyArrayInt64()"
    if asked.interval:
        parts = {name: sql for number in numbers for name, sql in _PARTS[number].items()}
        summed = ", ".join(f"{sql} AS {name}" for name, sql in parts.items())
        source, points = f"SELECT whole, g, b, {summed} FROM ({source}) AS r GROUP BY whole, g, b", "groupArray(b)"
    found = ", ".join(f"{_WHOLE[one]}, {f'groupArray({_EACH[one]})' if asked.interval else points}" for one in numbers)
    return f"SELECT whole, g, {points}, {found} FROM ({source}) AS s GROUP BY whole, g", bind.params


def value_sets(bind: Binder, family: Family, tenant: str, pack: Pack, covered: Coverage, span: tuple[int, int]) -> str:
    """A subquery of the users of each `value` of a family's one dimension over a range: `users`, by number, and
    `others`, the ids of those without. Counted days that the range has a part of are taken as a whole.
    """
    (dimension,) = family.dimensions
    days, pieces = covered.around(*span, family.reach)
    parts = []
    if days:
        parts.append(
            "SELECT value, users, emptyArrayString() AS others FROM daily_rollups FINAL "
            f"WHERE tenant = {bind(tenant)} AND family = {bind(family.id)} AND dimension = {bind(dimension.value)} "
            f"AND {days_where(bind, days)} AND events > 0"
        )
    if pieces:
        asked = Slice(tenant, *span, {}, pieces=pieces)
        columns = frozenset({"user_id", dimension.value})
        rows = family.select(bind, Question(asked, pack, columns, exact_rows=False))
        users = f"{rows.source} AS r LEFT JOIN {numbered(bind, tenant, rows)} AS u USING (user_id)"
        parts.append(
            f"SELECT toString({dimension.value}) AS value, groupBitmapStateIf(number, number > 0) AS users, "
            f"groupUniqArrayIf(user_id, number = 0) AS others FROM {users} "
            f"WHERE {' AND '.join(rows.conditions)} GROUP BY value"
        )
    sets = "groupBitmapMergeState(users) AS users, groupUniqArrayArray(others) AS others"
    return f"(SELECT value, {sets} FROM ({' UNION ALL '.join(parts)}) GROUP BY value)"


def _counted(bind: Binder, made: Plan, users: bool) -> str:
    asked = made.raw
    where = [f"tenant = {bind(asked.tenant)}", f"family = {bind(made.family.id)}", days_where(bind, made.days)]
    split = asked.group_by is not None
    whole, group = "toUInt8(1)", "''"
    if asked.filters:
        ((dimension, value),) = asked.filters.items()
        where += [f"dimension = {bind(dimension.value)}", f"value = {bind(str(value))}"]
        whole, group = ("arrayJoin([toUInt8(1), toUInt8(0)])", "if(whole = 1, '', value)") if split else (whole, group)
    elif asked.group_by:
        where.append(f"dimension IN ('', {bind(asked.group_by.value)})")
        whole, group = "toUInt8(dimension = '')", "value"
    else:
        where.append("dimension = ''")
    point = _point(made, "toDateTime64(day, 3, 'UTC')")
    who = "users" if users else f"{NO_USERS} AS users"
    return (
        f"SELECT {whole} AS whole, {group} AS g, {point} AS b, events, micros, {who}, emptyArrayString() AS fresh "
        f"FROM daily_rollups FINAL WHERE {' AND '.join(where)} AND events > 0"
    )


def _events(bind: Binder, made: Plan, pack: Pack, numbers: Sequence[str]) -> str:
    asked, users, money = made.raw, USERS in numbers, MICROS in numbers
    columns = frozenset([*(["user_id"] if users else []), *(["amount_micros"] if money else [])])
    rows = made.family.select(bind, Question(asked, pack, columns, exact_rows=EVENTS in numbers or money))
    amount = "amount_micros" if money else "toInt64(0)"
    whole = "arrayJoin([toUInt8(1), toUInt8(0)])" if asked.group_by else "toUInt8(1)"
    group = f"if(whole = 1, '', toString({asked.group_by.value}))" if asked.group_by else "''"
    one = (
        f"SELECT {whole} AS whole, {group} AS g, {_point(made, 'timestamp')} AS b, {amount} AS amount"
        f"{', user_id' if users else ''} FROM {rows.source} WHERE {' AND '.join(rows.conditions)}"
    )
    sums = "whole, g, b, count() AS events, sum(toInt128(amount)) AS micros"
    if not users:
        return f"SELECT {sums}, {NO_USERS} AS users, emptyArrayString() AS fresh FROM ({one}) GROUP BY whole, g, b"
    sets = "groupBitmapStateIf(number, number > 0) AS users, groupUniqArrayIf(user_id, number = 0) AS fresh"
    people = f"({one}) AS r LEFT JOIN {numbered(bind, asked.tenant, rows)} AS u USING (user_id)"
    return f"SELECT {sums}, {sets} FROM {people} GROUP BY whole, g, b"


def _point(made: Plan, time: str) -> str:
    asked = made.raw
    if asked.interval is None:
        return "toInt64(0)"
    point = bucket_sql(asked.interval, time)
    return f"greatest({point}, toInt64({floor(asked.interval, asked.start_ms)}))" if made.to_date else point
