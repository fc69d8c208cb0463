"""The statements of cohorts: users at their first sign-up, and what they did in each month after it.

A month is 30 days of 24 hours from each user's own sign-up, as in `retention_30d`; month 0 begins with the sign-up.
Each is answered from rollups (`covered`) where these hold what is asked, and else from the events.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from api.rollups.coverage import Coverage
from api.rollups.families import RETAINED
from api.rollups.read import value_sets
from api.rollups.rosters import ORDERS, SIGNUPS, roster_rows
from api.slices import MONTH_MS, Binder
from api.sources import events_where, order_rows, signup_rows
from schemas.taxonomy.pack import Pack


class CohortBy(StrEnum):
    """What a cohort has in common; all but the month as the sign-up says it."""

    SIGNUP_MONTH = "signup_month"
    ACQUISITION_CHANNEL = "acquisition_channel"
    SEGMENT = "segment"
    CAMPAIGN = "campaign_id"
    CREATIVE = "creative_id"

    @property
    def column(self) -> str | None:
        """The column of the sign-up; None for its month."""
        if self is CohortBy.SIGNUP_MONTH:
            return None
        return "channel" if self is CohortBy.ACQUISITION_CHANNEL else self.value


class RetainedBy(StrEnum):
    """What a user must do in a month to count as retained in it."""

    ACTIVITY = "activity"
    PURCHASE = "purchase"


@dataclass(frozen=True)
class CohortQuestion:
    """What is asked. Sign-ups lie in [start_ms, end_ms), followed up to `known_ms`; `months`: the last one, from 0."""

    tenant: str
    pack: Pack
    by: CohortBy
    start_ms: int
    end_ms: int
    months: int
    known_ms: int

    @property
    def span(self) -> tuple[int, int]:
        """Where sign-ups lie that are known."""
        return self.start_ms, min(self.end_ms, self.known_ms)

    @property
    def until_ms(self) -> int:
        """Nothing from here on can lie in a month that is shown."""
        return min(self.end_ms + (self.months + 1) * MONTH_MS, self.known_ms)


def sizes(asked: CohortQuestion, most: int, covered: Coverage | None = None) -> tuple[str, dict[str, object]]:
    """The SELECT of (cohort, users, users whose month is over for each month), at most `most` rows."""
    bind = Binder()
    people = f"SELECT cohort, {_months_over(bind, asked)} AS over FROM {_people(bind, asked, covered)}"
    alike = f"SELECT cohort, over, count() AS n FROM ({people}) GROUP BY cohort, over"
    by_month = f"sumForEach(arrayMap(m -> if(m < over, n, 0), range({bind(asked.months + 1, 'UInt8')})))"
    sql = f"SELECT {_named(asked)}, sum(n), {by_month} FROM ({alike}) GROUP BY cohort ORDER BY cohort"
    return f"{sql} LIMIT {bind(most, 'UInt32')}", bind.params


def monthly(asked: CohortQuestion, what: RetainedBy, covered: Coverage | None = None) -> tuple[str, dict[str, object]]:
    """The SELECT of (cohort, month, users who did it, what they paid in millionths) over months that are over."""
    bind = Binder()
    if covered and what is RetainedBy.ACTIVITY:
        return _active_from_rollups(bind, asked, covered), bind.params
    if covered and asked.by.column is None:
        return _paid_from_rosters(bind, asked, covered), bind.params
    done = _orders(bind, asked) if what is RetainedBy.PURCHASE else _activity(bind, asked)
    at = "toUnixTimestamp64Milli(d.timestamp)"
    month = f"intDiv({at} - s.since, {MONTH_MS})"
    where = f"{at} >= s.since AND {_over(bind, asked, 's.since', 'month')}"
    sql = (
        f"SELECT s.cohort AS cohort, {month} AS month, uniqExact(d.user_id) AS users, sum(d.amount_micros) AS micros "
        f"FROM {done} AS d INNER JOIN {_people(bind, asked, None)} AS s ON d.user_id = s.user_id "
        f"WHERE {where} GROUP BY cohort, month"
    )
    return f"SELECT {_named(asked)}, month, users, micros FROM ({sql})", bind.params


def _over(bind: Binder, asked: CohortQuestion, since: str, month: str) -> str:
    """The condition that a month is shown, and over for a user."""
    known, most = bind(asked.known_ms, "Int64"), bind(asked.months, "UInt8")
    return f"{month} <= {most} AND {since} + ({month} + 1) * {MONTH_MS} <= {known}"


def _months_over(bind: Binder, asked: CohortQuestion) -> str:
    """How many months are shown and over for the user who signed up at `since`: those below it are."""
    known, shown = bind(asked.known_ms, "Int64"), bind(asked.months + 1, "UInt8")
    return f"toUInt8(least(intDiv({known} - since, {MONTH_MS}), {shown}))"


def _people(bind: Binder, asked: CohortQuestion, covered: Coverage | None) -> str:
    """A subquery of the cohorts' users: `cohort` (of months a number, see `_named`), `since` (ms), and `user_id`, or
    from rosters `number` and `fresh`.
    """
    column = asked.by.column
    if covered:
        rows = roster_rows(bind, SIGNUPS, asked.tenant, asked.pack, covered, asked.span, ranked=False)
        return f"(SELECT number, fresh, {column or _month_of('at')} AS cohort, at AS since FROM {rows})"
    columns = [column] if column else []
    signed_up = signup_rows(bind, asked.tenant, asked.pack.roles["signup"], columns, asked.known_ms)
    since = "toUnixTimestamp64Milli(timestamp)"
    return (
        f"(SELECT user_id, {column or _month_of(since)} AS cohort, {since} AS since FROM {signed_up} "
        f"WHERE {bind.within(asked.start_ms, asked.end_ms)})"
    )


def _month_of(ms: str) -> str:
    return f"toYYYYMM(fromUnixTimestamp64Milli({ms}, 'UTC'))"


def _named(asked: CohortQuestion) -> str:
    """What `cohort` is called. Rows are grouped by a month's number, 202601, which is named once for all of them."""
    if asked.by.column is not None:
        return "cohort"
    return "concat(toString(intDiv(cohort, 100)), '-', leftPad(toString(cohort % 100), 2, '0'))"


def _activity(bind: Binder, asked: CohortQuestion) -> str:
    """Signs of life; the sign-up is one. A repeated row names no other user, so it needs no FINAL."""
    roles = asked.pack.roles
    where = events_where(bind, asked.tenant, [*roles["activity"], *roles["signup"]])
    span = bind.within(asked.start_ms, asked.until_ms)
    return f"(SELECT user_id, timestamp, toInt64(0) AS amount_micros FROM events WHERE {where} AND {span})"


def _orders(bind: Binder, asked: CohortQuestion) -> str:
    columns = ("user_id", "amount_micros")
    purchases = asked.pack.roles["purchase"]
    return order_rows(bind, asked.tenant, purchases, columns, before_ms=asked.until_ms, by_campaign=False)


def _active_from_rollups(bind: Binder, asked: CohortQuestion, covered: Coverage) -> str:
    """Users of a cohort who showed signs of life in a month: a set of those who can have, cut with one of who did.

    The second set is of all users, whenever they signed up: whoever of them is in the first one did it in that month.
    """
    people = (
        f"SELECT cohort, {_months_over(bind, asked)} AS over, groupBitmapStateIf(number, number > 0) AS some, "
        f"groupArrayIf(fresh, number = 0) AS fresh FROM {_people(bind, asked, covered)} GROUP BY cohort, over"
    )
    could = (
        "SELECT cohort, month, groupBitmapMergeState(some) AS users, groupArrayArray(fresh) AS others "
        f"FROM (SELECT *, arrayJoin(range(over)) AS month FROM ({people})) GROUP BY cohort, month"
    )
    did = value_sets(bind, RETAINED, asked.tenant, asked.pack, covered, (asked.start_ms, asked.until_ms))
    both = "bitmapAndCardinality(could.users, did.users) + length(arrayIntersect(could.others, did.others))"
    return (
        f"SELECT {_named(asked)}, month, active, 0 "
        f"FROM (SELECT could.cohort AS cohort, toUInt16(could.month) AS month, {both} AS active "
        f"FROM ({could}) AS could INNER JOIN {did} AS did ON toString(could.month) = did.value)"
    )


def _paid_from_rosters(bind: Binder, asked: CohortQuestion, covered: Coverage) -> str:
    span = (asked.start_ms, asked.until_ms)
    orders = roster_rows(bind, ORDERS, asked.tenant, asked.pack, covered, span)
    start, end = bind(asked.start_ms, "Int64"), bind(asked.end_ms, "Int64")
    within = f"signup >= {start} AND signup < {end} AND at >= signup AND {_over(bind, asked, 'signup', 'month')}"
    rows = f"SELECT *, intDiv(at - signup, {MONTH_MS}) AS month, {_month_of('signup')} AS cohort FROM {orders}"
    return (
        f"SELECT {_named(asked)}, month, users, micros FROM (SELECT cohort, month, uniqExact(number) AS users, "
        f"sum(toInt128(amount_micros)) AS micros FROM ({rows}) WHERE {within} GROUP BY cohort, month)"
    )
