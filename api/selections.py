"""Which rows each measure counts. A selection says it for a question; `api.measures` names and aggregates it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from api.margins import margin_rows
from api.slices import BEGINNING, DAY_MS, MONTH_MS, MOST_MONTHS, Binder, Pieces, Slice, filter_columns
from api.sources import (
    campaign_newcomer_rows,
    events_where,
    filters_where,
    first_conversion_rows,
    first_purchase_rows,
    followed_rows,
    order_rows,
    orders_in,
    pieces_where,
    range_where,
    signup_rows,
    span_where,
    users_in,
)
from schemas.taxonomy.pack import Pack
from schemas.wire import MICROS


@dataclass(frozen=True)
class Question:
    """A slice, put to a pack. `columns`: what the aggregates read beside filters and groups.

    `exact_rows`: a repeated row would change the answer, so repeats must be collapsed (FINAL). Where it would not, as
    for distinct users, the table is read as it is, which is several times faster.
    """

    asked: Slice
    pack: Pack
    columns: frozenset[str]
    exact_rows: bool

    @property
    def events(self) -> str:
        """The table to read."""
        return "events FINAL" if self.exact_rows else "events"

    @property
    def carried(self) -> list[str]:
        """The columns that a derived row must have."""
        asked = self.asked
        split = [asked.group_by.value] if asked.group_by else []
        return sorted({*self.columns, *filter_columns(asked.filters), *split})


@dataclass(frozen=True)
class Rows:
    """A FROM clause and the conditions on it."""

    source: str
    conditions: Sequence[str]


Select = Callable[[Binder, Question], Rows]

BY_MESSAGE: Final = "channel IN ('email', 'push')"
NOT_HELD_OUT: Final = "NOT is_holdout"


def everything(bind: Binder, q: Question) -> Rows:
    """All events of the tenant."""
    return Rows(q.events, [f"tenant = {bind(q.asked.tenant)}", *range_where(bind, q.asked)])


def of_role(role: str, *extra: str) -> Select:
    """The events of a role, on conditions of ours."""

    def select(bind: Binder, q: Question) -> Rows:
        where = events_where(bind, q.asked.tenant, q.pack.roles[role])
        return Rows(q.events, [where, *range_where(bind, q.asked), *extra])

    return select


def before_end(role: str) -> Select:
    """The events of a role from the beginning to the end of the range."""

    def select(bind: Binder, q: Question) -> Rows:
        where = events_where(bind, q.asked.tenant, q.pack.roles[role])
        return Rows(q.events, [where, *span_where(bind, q.asked, None), *filters_where(bind, q.asked)])

    return select


def orders(role: str, *, by_campaign: bool) -> Select:
    """Orders (or campaigns' orders) whose first event lies in the range."""

    def select(bind: Binder, q: Question) -> Rows:
        asked, refs = q.asked, q.pack.roles[role]
        only = orders_in(bind, asked.tenant, refs, asked.pieces) if asked.pieces else None
        end = asked.end_ms
        rows = order_rows(bind, asked.tenant, refs, q.carried, before_ms=end, by_campaign=by_campaign, only=only)
        return Rows(rows, range_where(bind, asked))

    return select


def session_days(bind: Binder, q: Question) -> Rows:
    """Sessions that told their length in the range, each once a UTC day, with what that day added (in millionths).

    A length is that of the session so far: what was told the day before, or before the range on the same day, is not
    told again. So a session that goes on after midnight is two, and sums of days are the sums of their range.
    """
    asked = q.asked
    inside = " AND ".join(span_where(bind, asked, asked.start_ms))
    types = sorted({ref.event_type for ref in q.pack.roles["session_start"]})
    looked = pieces_where(bind, _from_day_before(asked.pieces or ((asked.start_ms, asked.end_ms),)))
    told = " AND ".join(
        [
            f"tenant = {bind(asked.tenant)} AND event_type IN {bind(types, 'Array(String)')}",
            *looked,
            "session_id != '' AND session_seconds IS NOT NULL",
        ]
    )
    # Each row stands for its own day, and as what is known already for the next one.
    rows = (
        "SELECT user_id, session_id, timestamp, toInt128(assumeNotNull(session_seconds)) AS seconds, "
        f"arrayJoin([0, 1]) AS later, later = 0 AND {inside} AS now, toDate32(timestamp) + later AS day "
        f"FROM events WHERE {told}"
    )
    by_day = (
        f"SELECT minIf(timestamp, now) AS at, maxIf(seconds, now) AS longest, maxIf(seconds, NOT now) AS known "
        f"FROM ({rows}) GROUP BY user_id, session_id, day HAVING countIf(now) > 0"
    )
    added = f"greatest(longest - known, toInt128(0)) * {MICROS}"
    return Rows(f"(SELECT at AS timestamp, {added} AS amount_micros FROM ({by_day}))", ["1"])


def _from_day_before(pieces: Pieces) -> Pieces:
    """Parts of time with the days that they are in up to them, and the days before these."""
    found: list[tuple[int, int]] = []
    for start, end in pieces:
        since = max(start // DAY_MS * DAY_MS - DAY_MS, BEGINNING)
        if found and since <= found[-1][1]:
            since = found.pop()[0]
        found.append((since, end))
    return tuple(found)


def first_signups(bind: Binder, q: Question) -> Rows:
    """Users whose first sign-up lies in the range."""
    signups, users = q.pack.roles["signup"], _candidates(bind, q, "signup")
    rows = signup_rows(bind, q.asked.tenant, signups, q.carried, q.asked.end_ms, users)
    return Rows(rows, range_where(bind, q.asked))


def since_signup(bind: Binder, q: Question) -> Rows:
    """Signs of life, the sign-up among them, with the `month` of the user's own that they lie in, from 0 on."""
    asked, signups = q.asked, q.pack.roles["signup"]
    refs = [*q.pack.roles["activity"], *signups]
    where = [events_where(bind, asked.tenant, refs), *range_where(bind, asked)]
    users = users_in(bind, asked.tenant, refs, asked.pieces) if asked.pieces else None
    first = signup_rows(bind, asked.tenant, signups, (), None, users)
    month = f"intDiv(toUnixTimestamp64Milli(a.timestamp) - toUnixTimestamp64Milli(s.timestamp), {MONTH_MS})"
    rows = (
        f"(SELECT a.timestamp AS timestamp, a.user_id AS user_id, {month} AS month "
        f"FROM (SELECT user_id, timestamp FROM {q.events} WHERE {' AND '.join(where)}) AS a "
        f"INNER JOIN {first} AS s ON a.user_id = s.user_id WHERE a.timestamp >= s.timestamp)"
    )
    return Rows(rows, [f"month <= {MOST_MONTHS}"])


def newcomers(bind: Binder, q: Question) -> Rows:
    """Users whose first purchase ever lies in the range."""
    purchases, users = q.pack.roles["purchase"], _candidates(bind, q, "purchase")
    rows = first_purchase_rows(bind, q.asked.tenant, purchases, q.carried, q.asked.end_ms, users)
    return Rows(rows, range_where(bind, q.asked))


def _candidates(bind: Binder, q: Question, role: str) -> str | None:
    """Whose first event of a role can lie in the parts of the range that are to be read; None where all of it is."""
    pieces = q.asked.pieces
    return users_in(bind, q.asked.tenant, q.pack.roles[role], pieces) if pieces else None


def campaign_newcomers(bind: Binder, q: Question) -> Rows:
    """The same by campaign: those whose first order the campaign converted."""
    roles = q.pack.roles
    rows = campaign_newcomer_rows(bind, q.asked.tenant, roles["purchase"], roles["conversion"], q.asked.end_ms)
    return Rows(rows, range_where(bind, q.asked))


Cohort = Callable[[Binder, Question], str]
"""A subquery of the users that are followed, with their `timestamp`, `user_id` and what the question carries."""


def signed_up(bind: Binder, q: Question) -> str:
    """Users at their first sign-up."""
    return signup_rows(bind, q.asked.tenant, q.pack.roles["signup"], q.carried, q.asked.followed_ms)


def became_customers(bind: Binder, q: Question) -> str:
    """Users at their first purchase ever."""
    carried = [name for name in q.carried if name not in ("user_id", "amount_micros")]
    return first_purchase_rows(bind, q.asked.tenant, q.pack.roles["purchase"], carried, q.asked.end_ms)


def came_by_campaign(bind: Binder, q: Question) -> str:
    """The same by campaign: users at their first purchase, where the campaign converted that order."""
    roles = q.pack.roles
    return campaign_newcomer_rows(bind, q.asked.tenant, roles["purchase"], roles["conversion"], q.asked.end_ms)


@dataclass(frozen=True)
class Followed:
    """Users of a cohort that began in the range, with their orders from `first_day` after it on, up to `end_day`.

    `whole`: only those whose days are over by the moment of the question; others had less time than they.
    """

    cohort: Cohort
    first_day: int
    end_day: int
    whole: bool = False

    def __call__(self, bind: Binder, q: Question) -> Rows:
        asked, purchases, known = q.asked, q.pack.roles["purchase"], q.asked.followed_ms
        users, days = self.cohort(bind, q), (self.first_day, self.end_day)
        rows = followed_rows(bind, asked.tenant, users, purchases, q.carried, days=days, before_ms=known)
        over = [f"timestamp + toIntervalDay({self.end_day}) <= {bind.time(known)}"] if self.whole else []
        return Rows(rows, [*range_where(bind, asked), *over])


def margins(bind: Binder, q: Question) -> Rows:
    """Orders less the cost of their goods, and spend as its segments bear it."""
    return Rows(margin_rows(bind, q.asked, q.pack.roles), range_where(bind, q.asked))


def of_live_events(bind: Binder, q: Question) -> Rows:
    """All events but those that a backfill brought."""
    rows = everything(bind, q)
    return Rows(rows.source, [*rows.conditions, "NOT backfill"])


def first_conversions(bind: Binder, q: Question) -> Rows:
    """Users' first conversions of a campaign in the range, with `waited_ms` since its first delivery to them."""
    rows = first_conversion_rows(bind, q.asked.tenant, q.pack.roles, q.carried, q.asked.end_ms)
    return Rows(rows, range_where(bind, q.asked))


def clicks_after_messages(bind: Binder, q: Question) -> Rows:
    """Clicks of users who opened an e-mail or push message of the same campaign before the end of the range."""
    clicks = of_role("click")(bind, q)
    opened = events_where(bind, q.asked.tenant, q.pack.roles["message_open"])
    before = bind.before(q.asked.end_ms)
    pairs = f"SELECT user_id, campaign_id FROM events WHERE {opened} AND {BY_MESSAGE} AND {before}"
    return Rows(clicks.source, [*clicks.conditions, f"(user_id, campaign_id) IN ({pairs})"])
