"""The statements of cohorts: users at their first sign-up, and what they did in each month after it.

A month is 30 days of 24 hours from each user's own sign-up, as in `retention_30d`; month 0 begins with the sign-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from api.slices import Binder
from api.sources import events_where, order_rows, signup_rows
from schemas.taxonomy.pack import Pack

MONTH_MS: Final = 30 * 86_400_000


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
    def until_ms(self) -> int:
        """Nothing from here on can lie in a month that is shown."""
        return min(self.end_ms + (self.months + 1) * MONTH_MS, self.known_ms)


def sizes(asked: CohortQuestion, most: int) -> tuple[str, dict[str, object]]:
    """The SELECT of (cohort, users, users whose month is over for each month), at most `most` rows."""
    bind = Binder()
    known = bind(asked.known_ms, "Int64")
    over = f"arrayMap(m -> since + (m + 1) * {MONTH_MS} <= {known}, range({bind(asked.months + 1, 'UInt8')}))"
    people = f"SELECT cohort, {over} AS over FROM {_people(bind, asked)}"
    sql = f"SELECT cohort, count(), sumForEach(over) FROM ({people}) GROUP BY cohort ORDER BY cohort"
    return f"{sql} LIMIT {bind(most, 'UInt32')}", bind.params


def monthly(asked: CohortQuestion, what: RetainedBy) -> tuple[str, dict[str, object]]:
    """The SELECT of (cohort, month, users who did it, what they paid in millionths) over months that are over."""
    bind = Binder()
    done = _orders(bind, asked) if what is RetainedBy.PURCHASE else _activity(bind, asked)
    at = "toUnixTimestamp64Milli(d.timestamp)"
    month = f"intDiv({at} - s.since, {MONTH_MS})"
    where = (
        f"{at} >= s.since AND month <= {bind(asked.months, 'UInt8')} "
        f"AND s.since + (month + 1) * {MONTH_MS} <= {bind(asked.known_ms, 'Int64')}"
    )
    sql = (
        f"SELECT s.cohort AS cohort, {month} AS month, uniqExact(d.user_id), sum(d.amount_micros) FROM {done} AS d "
        f"INNER JOIN {_people(bind, asked)} AS s ON d.user_id = s.user_id WHERE {where} GROUP BY cohort, month"
    )
    return sql, bind.params


def _people(bind: Binder, asked: CohortQuestion) -> str:
    column = asked.by.column
    columns = [column] if column else []
    signed_up = signup_rows(bind, asked.tenant, asked.pack.roles["signup"], columns, asked.known_ms)
    cohort = column or "formatDateTime(timestamp, '%Y-%m', 'UTC')"
    return (
        f"(SELECT user_id, {cohort} AS cohort, toUnixTimestamp64Milli(timestamp) AS since FROM {signed_up} "
        f"WHERE timestamp >= {bind.time(asked.start_ms)} AND timestamp < {bind.time(asked.end_ms)})"
    )


def _activity(bind: Binder, asked: CohortQuestion) -> str:
    """Signs of life; the sign-up is one. A repeated row names no other user, so it needs no FINAL."""
    roles = asked.pack.roles
    where = events_where(bind, asked.tenant, [*roles["activity"], *roles["signup"]])
    span = f"timestamp >= {bind.time(asked.start_ms)} AND timestamp < {bind.time(asked.until_ms)}"
    return f"(SELECT user_id, timestamp, toInt64(0) AS amount_micros FROM events WHERE {where} AND {span})"


def _orders(bind: Binder, asked: CohortQuestion) -> str:
    columns = ("user_id", "amount_micros")
    purchases = asked.pack.roles["purchase"]
    return order_rows(bind, asked.tenant, purchases, columns, before_ms=asked.until_ms, by_campaign=False)
