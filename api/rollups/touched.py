"""Which days something touched since they were counted, and how far that reaches. SQL with bound places only."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

from api.rollups.families import Reach
from api.slices import BEGINNING, DAY_MS, Binder
from api.sources import events_where
from schemas.taxonomy.pack import EventRef, Pack

Refs = Sequence[EventRef]


def touched(bind: Binder, tenant: str, pack: Pack, since_ms: int, before: int) -> str:
    """The SELECT of days before `before` that something touched since, and whether it was about an order or a sign-up.

    What touches a day is an event that was stored, or one that was taken out.
    """
    roles = (pack.roles.get(role, ()) for role in ("purchase", "conversion", "signup"))
    types = sorted({ref.event_type for ref in chain(*roles)})
    reaching = f"event_type IN {bind(types, 'Array(String)')}"
    changes = _changes(bind, tenant, since_ms, before, "timestamp, event_type", "1")
    return f"SELECT toInt32(toDate32(timestamp)) AS day, max({reaching}) AS reaching FROM {changes} GROUP BY day"


def related(bind: Binder, tenant: str, pack: Pack, since_ms: int, before: int) -> str:
    """The SELECT of days before `before` that such changes reach, and how far (`Reach`).

    An order moves when its first event is another than it was: its days before and now are other. Where a user's first
    order or sign-up moves, so are the days of all orders of the user, and with the sign-up all signs of life since.
    """
    purchases, conversions, signups, alive = (
        pack.roles.get(role, ()) for role in ("purchase", "conversion", "signup", "activity")
    )
    news = _News(bind, tenant, since_ms, before)
    parts = []
    for refs, key in ((purchases, "order_id"), (conversions, "campaign_id, order_id")):
        if refs:
            moved = news.moved(refs, "order_id", key)
            parts.append(f"SELECT arrayJoin(days) AS day, {int(Reach.ORDERS)} AS reach FROM {moved}")
    users = [f"SELECT user_id FROM {news.moved(refs, 'user_id', 'user_id')}" for refs in (purchases, signups) if refs]
    if purchases:
        users.append(news.sharers(purchases))
    if users:
        where = f"user_id IN ({' UNION ALL '.join(users)})"
        parts.append(news.days([*purchases, *signups], where, Reach.CUSTOMERS))
    if signups:
        moved = news.moved(signups, "user_id", "user_id")
        since = f"timestamp >= (SELECT min(earliest) FROM {moved})"
        where = f"user_id IN (SELECT user_id FROM {moved}) AND {since}"
        parts.append(news.days([*alive, *signups], where, Reach.LIVES))
    rows = " UNION ALL ".join(parts)
    return f"SELECT DISTINCT toInt32(day) AS day, reach FROM ({rows}) WHERE toInt32(day) < {bind(before, 'Int32')}"


@dataclass(frozen=True)
class _News:
    """What was stored or taken out since `since_ms`, of days before `before`."""

    bind: Binder
    tenant: str
    since_ms: int
    before: int

    def moved(self, refs: Refs, column: str, key: str) -> str:
        """A subquery of keys whose first event of a role moved: `days` (before and now), `earliest` (of both).

        `column`: what the news have in common with the key. What was stored before `since_ms` was there before. What a
        conflict takes out may be there or gone, so all days of its key count as moved.
        """
        bind, role = self.bind, events_where(self.bind, self.tenant, refs)
        where = f"{role} AND {column} IN ({self._keys(role, column)})"
        since, columns = bind.time(self.since_ms), f"{key}, timestamp, event_id"
        rows = (
            f"SELECT {columns}, inserted_at < {since} AS old, false AS out FROM events WHERE {where} UNION ALL "
            f"SELECT {columns}, true, true FROM conflicts WHERE {where} AND moved AND found_at >= {since}"
        )
        first = "min(tuple(timestamp, event_id))"
        firsts = f"minIf(tuple(timestamp, event_id), old) AS before, {first} AS now, countIf(old) > 0 AS known"
        days = (
            "multiIf(gone, groupUniqArray(toDate32(timestamp)), known, [toDate32(before.1), toDate32(now.1)], "
            "[toDate32(now.1)]) AS days"
        )
        return (
            f"(SELECT {key}, {firsts}, countIf(out) > 0 AS gone, now.1 AS earliest, {days} FROM ({rows}) "
            f"GROUP BY {key} HAVING gone OR NOT known OR before != now)"
        )

    def sharers(self, refs: Refs) -> str:
        """The SELECT of users of orders that several have, one of them with news: whose order it is may have moved."""
        role = f"{events_where(self.bind, self.tenant, refs)} AND order_id != ''"
        ids = f"SELECT order_id FROM events WHERE {role} AND user_id IN ({self._keys(role, 'user_id')})"
        users = f"SELECT groupUniqArray(user_id) AS users FROM events WHERE {role} AND order_id IN ({ids})"
        return f"SELECT arrayJoin(users) AS user_id FROM ({users} GROUP BY order_id) WHERE length(users) > 1"

    def days(self, refs: Refs, where: str, reach: Reach) -> str:
        """The SELECT of days of events, with a reach."""
        role = events_where(self.bind, self.tenant, refs)
        return f"SELECT DISTINCT toDate32(timestamp) AS day, {int(reach)} AS reach FROM events WHERE {role} AND {where}"

    def _keys(self, role: str, column: str) -> str:
        named = f"{role} AND {column} != ''"
        return f"SELECT {column} FROM {_changes(self.bind, self.tenant, self.since_ms, self.before, column, named)}"


def reaches(
    dirty: Iterable[Iterable[int]], found: Iterable[Sequence[int]], reached: Iterable[Sequence[int]]
) -> tuple[frozenset[int], ...]:
    """Dirty days by reach: those that were, and those of the rows of `touched` and of `related`.

    What is dirty for a reach is so for every longer one.
    """
    days = [set(one) for one in dirty]
    days[Reach.DAY].update(int(day) for day, _ in found)
    days[Reach.NEXT_DAYS].update(int(day) + 1 for day, _ in found)
    for day, reach in reached:
        days[int(reach)].add(int(day))
    return tuple(map(frozenset, accumulate(days, operator.or_)))


def _changes(bind: Binder, tenant: str, since_ms: int, before: int, columns: str, where: str) -> str:
    """A subquery of events of days before `before` that were stored, or taken out, since."""
    since = bind.time(max(since_ms, BEGINNING))
    mine = f"tenant = {bind(tenant)} AND {bind.before(before * DAY_MS)} AND {where}"
    return (
        f"(SELECT {columns} FROM events WHERE {mine} AND inserted_at >= {since} UNION ALL "
        f"SELECT {columns} FROM conflicts WHERE {mine} AND moved AND found_at >= {since})"
    )
