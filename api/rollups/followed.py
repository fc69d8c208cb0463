"""Users of a cohort and what they ordered since, out of rosters: what `api.selections.Followed` gives from events."""

from __future__ import annotations

from typing import Final

from api.rollups.coverage import Coverage
from api.rollups.rosters import ORDERS, SIGNUPS, roster_rows
from api.selections import Followed, Rows, became_customers, signed_up
from api.slices import DAY_MS, Binder, Slice
from schemas.taxonomy.pack import Pack

_COLUMNS: Final = "number, begun, ordered, amount_micros, fromUnixTimestamp64Milli(since, 'UTC') AS timestamp"


def followed_roster(bind: Binder, what: Followed, asked: Slice, pack: Pack, covered: Coverage) -> Rows | None:
    """Rows with the cohort's `timestamp`, `number`, `begun`, `ordered` and `amount_micros`.

    Every user has a row that has begun; orders within the days that are followed are `ordered`. None of other cohorts,
    and of a range that has not begun.
    """
    if asked.start_ms >= asked.followed_ms:
        return None
    if what.cohort is signed_up:
        rows = _since_signup(bind, what, asked, pack, covered)
    elif what.cohort is became_customers:
        rows = f"SELECT number, first AS since, true AS begun, {_within(what)}, amount_micros FROM " + roster_rows(
            bind, ORDERS, asked.tenant, pack, covered, (asked.start_ms, asked.followed_ms)
        )
    else:
        return None
    start, end, known = (bind(ms, "Int64") for ms in (asked.start_ms, asked.end_ms, asked.followed_ms))
    over = [f"since + {what.end_day * DAY_MS} <= {known}"] if what.whole else []
    where = " AND ".join([f"since >= {start}", f"since < {end}", *over])
    return Rows(f"(SELECT {_COLUMNS} FROM ({rows}) WHERE {where})", ["1"])


def _since_signup(bind: Binder, what: Followed, asked: Slice, pack: Pack, covered: Coverage) -> str:
    known = min(asked.end_ms, asked.followed_ms)
    begun = roster_rows(bind, SIGNUPS, asked.tenant, pack, covered, (asked.start_ms, known))
    ordered = roster_rows(bind, ORDERS, asked.tenant, pack, covered, (asked.start_ms, asked.followed_ms))
    return (
        f"SELECT number, at AS since, true AS begun, false AS ordered, toInt64(0) AS amount_micros FROM {begun} "
        f"UNION ALL SELECT number, signup AS since, false AS begun, {_within(what)}, amount_micros FROM {ordered}"
    )


def _within(what: Followed) -> str:
    return f"at >= since + {what.first_day * DAY_MS} AND at < since + {what.end_day * DAY_MS} AS ordered"
