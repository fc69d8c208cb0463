"""How a day is counted: the SELECT whose rows go into `daily_rollups`. SQL with bound places only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from api.rollups.families import EVERYTHING, Family
from api.selections import Question, Rows
from api.slices import DAY_MS, Binder, Pieces, Slice
from api.sources import pieces_where
from schemas.taxonomy.pack import Pack

Days = list[tuple[int, int]]
"""Runs of days: the first, and the one after the last, as numbers since 1970."""

COLUMNS: Final = ("tenant", "family", "dimension", "day", "value", "events", "micros", "users", "revision")
NO_USERS: Final = "bitmapBuild(emptyArrayUInt32())"
"""The state of a set without users."""
_FEW: Final = 3
"""Up to so many days, the users of these days are looked up first, instead of holding all of the tenant's."""


def day_rows(bind: Binder, family: Family, tenant: str, pack: Pack, days: Days) -> str:
    """The SELECT of (dimension, day, value, events, micros, users) of some days, counted from the events."""
    rows = _rows(bind, family, tenant, pack, days)
    amount = "amount_micros" if family.money else "toInt64(0)"
    whole = ["('', '')"] if family.whole else []
    pairs = ", ".join([*whole, *(f"('{d.value}', toString({d.value}))" for d in family.dimensions)])
    who = "user_id, " if family.users else ""
    one = (
        f"SELECT toDate32(timestamp) AS day, {who}{amount} AS amount, [{pairs}] AS pairs "
        f"FROM {rows.source} WHERE {' AND '.join(rows.conditions)}"
    )
    if not family.users:
        # Few combinations of values: counting these first leaves little to be counted once a dimension.
        summed = f"SELECT day, pairs, count() AS n, sum(toInt128(amount)) AS amount FROM ({one}) GROUP BY day, pairs"
        return (
            f"SELECT pair.1 AS dimension, day, pair.2 AS value, sum(n) AS events, sum(amount) AS micros, "
            f"{NO_USERS} AS users FROM ({summed}) ARRAY JOIN pairs AS pair GROUP BY dimension, day, value"
        )
    numbers = numbered(bind, tenant, rows if _count(days) <= _FEW else None)
    return (
        "SELECT pair.1 AS dimension, day, pair.2 AS value, count() AS events, sum(toInt128(amount)) AS micros, "
        f"groupBitmapStateIf(number, number > 0) AS users FROM ({one}) AS r LEFT JOIN {numbers} AS u USING (user_id) "
        "ARRAY JOIN pairs AS pair GROUP BY dimension, day, value"
    )


def insert_days(bind: Binder, family: Family, tenant: str, pack: Pack, days: Days, revision: int) -> str:
    """The INSERT of some days of a family; values that are gone get a row without events, and so do empty days."""
    gone = (
        f"SELECT toString(dimension) AS dimension, day, value, toUInt64(0) AS events, toInt128(0) AS micros, "
        f"{NO_USERS} AS users FROM daily_rollups FINAL WHERE tenant = {bind(tenant)} AND family = {bind(family.id)} "
        f"AND {days_where(bind, days)}"
    )
    counted = day_rows(bind, family, tenant, pack, days)
    if family is EVERYTHING:
        every = bind([day for run in days for day in range(*run)], "Array(Int32)")
        gone += f" UNION ALL SELECT '', toDate32(arrayJoin({every})), '', toUInt64(0), toInt128(0), {NO_USERS}"
    return (
        f"INSERT INTO daily_rollups ({', '.join(COLUMNS)}) SELECT {bind(tenant)}, {bind(family.id)}, dimension, day, "
        f"value, sum(events), sum(micros), groupBitmapMergeState(users), {bind(revision, 'UInt64')} "
        f"FROM ({counted} UNION ALL {gone}) GROUP BY dimension, day, value"
    )


def compared(bind: Binder, family: Family, tenant: str, pack: Pack, days: Days) -> str:
    """The SELECT of what is stored of some days and is not what the events say, or the other way round."""
    stored = (
        f"SELECT toString(dimension) AS dimension, day, value, events, micros, users FROM daily_rollups FINAL "
        f"WHERE tenant = {bind(tenant)} AND family = {bind(family.id)} AND {days_where(bind, days)} AND events > 0"
    )
    same = (
        "count() = 2 AND min(events) = max(events) AND min(micros) = max(micros) "
        "AND min(people) = max(people) AND groupBitmapMerge(users) = max(people)"
    )
    both = f"{day_rows(bind, family, tenant, pack, days)} UNION ALL {stored}"
    rows = f"SELECT dimension, day, value, events, micros, users, bitmapCardinality(users) AS people FROM ({both})"
    return (
        "SELECT dimension, day, value, groupArray(events) AS events_found, groupArray(people) AS users_found "
        f"FROM ({rows}) GROUP BY dimension, day, value HAVING NOT ({same}) ORDER BY day, dimension, value"
    )


def insert_numbers(bind: Binder, tenant: str, days: Days, first: int) -> str:
    """The INSERT of numbers, from `first` on, for users of some days that have none."""
    inside = " AND ".join(pieces_where(bind, pieces_of(days)))
    users = f"SELECT DISTINCT user_id FROM events WHERE tenant = {bind(tenant)} AND {inside}"
    known = f"SELECT user_id FROM user_numbers WHERE tenant = {bind(tenant)} AND user_id IN ({users})"
    return (
        f"INSERT INTO user_numbers (tenant, user_id, number) SELECT {bind(tenant)}, user_id, "
        f"toUInt32({bind(first, 'UInt32')} - 1 + row_number() OVER ()) "
        f"FROM ({users} AND user_id NOT IN ({known}))"
    )


def told(bind: Binder, tenant: str, days: Days) -> str:
    """The SELECT of what rollups say of some days, in all and by campaign: what corrections are told of."""
    return (
        "SELECT toInt32(day) AS at, family, dimension, value, events, micros, bitmapCardinality(users) AS people "
        f"FROM daily_rollups FINAL WHERE tenant = {bind(tenant)} AND {days_where(bind, days)} AND events > 0 "
        "AND dimension IN ('', 'campaign_id')"
    )


def counted_days(bind: Binder, tenant: str, days: Days) -> str:
    """The SELECT of those of some days that were counted before."""
    return (
        f"SELECT DISTINCT toInt32(day) AS at FROM daily_rollups WHERE tenant = {bind(tenant)} "
        f"AND family = {bind(EVERYTHING.id)} AND dimension = '' AND {days_where(bind, days)}"
    )


def numbered(bind: Binder, tenant: str, rows: Rows | None) -> str:
    """A subquery of users and their numbers: those of some rows, or all of the tenant."""
    some = f" AND user_id IN (SELECT user_id FROM {rows.source} WHERE {' AND '.join(rows.conditions)})" if rows else ""
    return f"(SELECT user_id, number FROM user_numbers WHERE tenant = {bind(tenant)}{some})"


def days_where(bind: Binder, days: Days) -> str:
    """The condition that `day` is one of these."""
    span = f"day >= toDate32({bind(days[0][0], 'Int32')}) AND day < toDate32({bind(days[-1][1], 'Int32')})"
    if len(days) == 1:
        return f"({span})"
    return f"({span} AND toInt32(day) IN {bind([day for run in days for day in range(*run)], 'Array(Int32)')})"


def runs(days: Sequence[int]) -> Days:
    """Days, in any order, as runs."""
    found: Days = []
    for day in sorted(set(days)):
        if found and found[-1][1] == day:
            found[-1] = (found[-1][0], day + 1)
        else:
            found.append((day, day + 1))
    return found


def _rows(bind: Binder, family: Family, tenant: str, pack: Pack, days: Days) -> Rows:
    pieces = pieces_of(days)
    asked = Slice(tenant, pieces[0][0], pieces[-1][1], {}, pieces=pieces)
    return family.select(bind, Question(asked, pack, frozenset(family.columns), exact_rows=True))


def pieces_of(days: Days) -> Pieces:
    """Days as parts of time."""
    return tuple((first * DAY_MS, after * DAY_MS) for first, after in days)


def _count(days: Days) -> int:
    return sum(after - first for first, after in days)
