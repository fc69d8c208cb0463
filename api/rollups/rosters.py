"""A day's people, orders and steps, each day in the arrays of one row: how they are counted, and how they are read.

What follows single users over months (who bought again, who is new, what a cohort paid, how far somebody comes) cannot
be put together from counts and sets. Rosters are small copies of just these rows, with users by number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from api.rollups.counted import Days, days_where, numbered, pieces_of
from api.rollups.coverage import Coverage
from api.rollups.families import FAMILIES, Family, Reach
from api.rollups.stepping import kind_sql, kinds
from api.selections import Rows
from api.slices import Binder, Pieces
from api.sources import events_where, first_purchase_rows, order_rows, orders_in, pieces_where, signup_rows, users_in
from schemas.taxonomy.pack import EventRef, Pack

NEVER: Final = 1 << 60
"""The moment of a sign-up that there is not, in ms."""
_FRESH: Final = 1 << 31
"""From here on numbers are of users who have none yet; they hold within one statement."""

Select = Callable[[Binder, str, Pack, Pieces], str]
"""A subquery of rows with `timestamp`, `user_id` and the roster's columns, of some parts of time."""


@dataclass(frozen=True)
class Roster:
    """A table of days. `columns`: its arrays beside `users` and `times`, and what an element of each is called.

    `refs`: the events of a pack that its rows are made of.
    """

    id: str
    table: str
    refs: Callable[[Pack], Sequence[EventRef]]
    columns: Mapping[str, str]
    select: Select
    reach: Reach = Reach.CUSTOMERS

    def known_to(self, pack: Pack) -> bool:
        """Whether the pack declares what this holds."""
        return bool(self.refs(pack))

    def people(self, bind: Binder, tenant: str, pack: Pack, pieces: Pieces) -> Rows:
        """Events of all users that rows of some parts of time can be of."""
        return Rows("events", [events_where(bind, tenant, self.refs(pack)), *pieces_where(bind, pieces)])


def _signups(bind: Binder, tenant: str, pack: Pack, pieces: Pieces) -> str:
    signups = pack.roles["signup"]
    users = users_in(bind, tenant, signups, pieces)
    rows = signup_rows(bind, tenant, signups, [*SIGNUPS.columns.values()], None, users)
    return f"(SELECT * FROM {rows} WHERE {' AND '.join(pieces_where(bind, pieces))})"


def _orders(bind: Binder, tenant: str, pack: Pack, pieces: Pieces) -> str:
    purchases, signups, columns = pack.roles["purchase"], pack.roles.get("signup", ()), ("user_id", "amount_micros")
    only = orders_in(bind, tenant, purchases, pieces)
    orders = order_rows(bind, tenant, purchases, columns, before_ms=None, by_campaign=False, only=only)
    inside = " AND ".join(pieces_where(bind, pieces))
    users = users_in(bind, tenant, purchases, pieces)
    first = first_purchase_rows(bind, tenant, purchases, (), None, users)
    signup, joined = f"toInt64({NEVER})", ""
    if signups:
        signup = f"if(s.user_id = '', toInt64({NEVER}), toUnixTimestamp64Milli(s.timestamp))"
        joined = f" LEFT JOIN {signup_rows(bind, tenant, signups, (), None, users)} AS s ON o.user_id = s.user_id"
    return (
        f"(SELECT o.timestamp AS timestamp, o.user_id AS user_id, o.amount_micros AS amount_micros, "
        f"{signup} AS signup, toUnixTimestamp64Milli(f.timestamp) AS first "
        f"FROM (SELECT * FROM {orders} WHERE {inside}) AS o "
        f"INNER JOIN {first} AS f ON o.user_id = f.user_id{joined})"
    )


def _steps(bind: Binder, tenant: str, pack: Pack, pieces: Pieces) -> str:
    where = [events_where(bind, tenant, kinds(pack)), *pieces_where(bind, pieces), "NOT is_holdout"]
    return f"(SELECT timestamp, user_id, {kind_sql(bind, pack)} AS kind FROM events FINAL WHERE {' AND '.join(where)})"


SIGNUPS: Final = Roster(
    "signup_roster",
    "daily_signups",
    lambda pack: pack.roles.get("signup", ()),
    {"campaigns": "campaign_id", "creatives": "creative_id", "segments": "segment", "channels": "channel"},
    _signups,
)
"""First sign-ups, with what they say of where the user came from."""
ORDERS: Final = Roster(
    "order_roster",
    "daily_orders",
    lambda pack: pack.roles.get("purchase", ()),
    {"micros": "amount_micros", "signups": "signup", "firsts": "first"},
    _orders,
)
"""Orders at their first event, with the user's first sign-up (or `NEVER`) and first order, in ms."""
STEPS: Final = Roster("step_roster", "daily_steps", kinds, {"kinds": "kind"}, _steps, Reach.DAY)
"""Events that declared funnels take as steps, by kind; orders are in their own roster."""
COUNTED: Final[Mapping[str, Family | Roster]] = {
    **FAMILIES,
    **{roster.id: roster for roster in (SIGNUPS, ORDERS, STEPS)},
}
"""Everything that is counted by day."""


def roster_days(bind: Binder, roster: Roster, tenant: str, pack: Pack, days: Days) -> str:
    """The SELECT of (day, arrays…) of the days that have any, from the events."""
    pieces = pieces_of(days)
    rows, known = roster.select(bind, tenant, pack, pieces), roster.people(bind, tenant, pack, pieces)
    names = ", ".join(_plain(name) for name in roster.columns.values())
    one = f"(toUnixTimestamp64Milli(timestamp), number, {names})"
    people = f"{rows} AS r LEFT JOIN {numbered(bind, tenant, known)} AS u USING (user_id)"
    grouped = f"SELECT toDate32(timestamp) AS day, arraySort(groupArray({one})) AS rows FROM {people} GROUP BY day"
    arrays = [f"arrayMap(r -> r.{at}, rows) AS {name}" for at, name in enumerate(roster.columns, 3)]
    told = ["arrayMap(r -> r.2, rows) AS users", "arrayMap(r -> r.1, rows) AS times", *arrays]
    return f"SELECT day, {', '.join(told)} FROM ({grouped})"


def insert_roster(bind: Binder, roster: Roster, tenant: str, pack: Pack, days: Days, revision: int) -> str:
    """The INSERT of some days, also of those that have nothing (any more)."""
    arrays = ", ".join(("users", "times", *roster.columns))
    numbers = bind([day for run in days for day in range(*run)], "Array(Int32)")
    return (
        f"INSERT INTO {roster.table} (tenant, day, {arrays}, revision) "
        f"SELECT {bind(tenant)}, day, {arrays}, {bind(revision, 'UInt64')} "
        f"FROM (SELECT toDate32(arrayJoin({numbers})) AS day) AS d "
        f"LEFT JOIN ({roster_days(bind, roster, tenant, pack, days)}) AS c USING (day)"
    )


def compared_roster(bind: Binder, roster: Roster, tenant: str, pack: Pack, days: Days) -> str:
    """The SELECT of days whose stored arrays are not what the events say."""
    arrays = ", ".join(("users", "times", *(f"{name}::Array(String) AS {name}" for name in roster.columns)))
    stored = (
        f"SELECT day, {arrays} FROM {roster.table} FINAL "
        f"WHERE tenant = {bind(tenant)} AND {days_where(bind, days)} AND notEmpty(users)"
    )
    counted = f"SELECT day, {arrays} FROM ({roster_days(bind, roster, tenant, pack, days)})"
    all_of = f"tuple(users, times, {', '.join(roster.columns)})"
    return (
        "SELECT '' AS dimension, day, '' AS value, groupArray(length(users)) AS events_found, "
        "groupArray(length(arrayDistinct(users))) AS users_found "
        f"FROM (SELECT * FROM ({counted}) UNION ALL SELECT * FROM ({stored})) GROUP BY day "
        f"HAVING NOT (count() = 2 AND length(groupUniqArray({all_of})) = 1) ORDER BY day"
    )


def roster_rows(
    bind: Binder,
    roster: Roster,
    tenant: str,
    pack: Pack,
    covered: Coverage | None,
    span: tuple[int, int],
    *,
    ranked: bool = True,
) -> str:
    """A subquery of the rows of a range of time (ms): `number`, `fresh`, `at` (ms), and the roster's columns.

    Days that are counted come from the table, the rest from the events. Who has no number yet is told by `fresh`, the
    id; ranked, also by a number that is nobody else's in this subquery.
    """
    start, end = span
    days, pieces = covered.around(start, end, roster.reach) if covered else ([], ((start, end),))
    names = roster.columns.values()
    parts = []
    if days:
        arrays = "".join(f", {array} AS {name}" for array, name in roster.columns.items())
        told = "".join(f", {_plain(name)} AS {name}" for name in names)
        parts.append(
            f"SELECT number, '' AS fresh, at{told} "
            f"FROM (SELECT * FROM {roster.table} FINAL WHERE tenant = {bind(tenant)} AND {days_where(bind, days)}) "
            f"ARRAY JOIN users AS number, times AS at{arrays} "
            f"WHERE at >= {bind(start, 'Int64')} AND at < {bind(end, 'Int64')}"
        )
    if pieces:
        rows = roster.select(bind, tenant, pack, pieces)
        known = numbered(bind, tenant, roster.people(bind, tenant, pack, pieces))
        nobody = f"toUInt32({_FRESH} + dense_rank() OVER (ORDER BY user_id))" if ranked else "toUInt32(0)"
        told = "".join(f", {_plain(name)} AS {name}" for name in names)
        parts.append(
            f"SELECT if(u.number > 0, u.number, {nobody}) AS number, if(u.number > 0, '', user_id) AS fresh, "
            f"toUnixTimestamp64Milli(timestamp) AS at{told} FROM {rows} AS r LEFT JOIN {known} AS u USING (user_id)"
        )
    return f"({' UNION ALL '.join(parts)})"


def _plain(name: str) -> str:
    return name if name in ("amount_micros", "signup", "first", "kind") else f"toString({name})"
