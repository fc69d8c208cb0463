"""What the segmentation round reads: features of every user before a moment, and the segment each has, in one query.

An order counts once, for the user, at the time and with the amount of its first event by (timestamp, event_id), however
long ago that was; a purchase without an order id is an order of its own. So all purchases and sign-ups of a tenant
before the moment are read, which are few among its events, and no others. The segment is what the newest event of the
role `segment` before the moment said. No repeated row changes an answer, so nothing is read FINAL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from schemas.segments import Patterns
from schemas.taxonomy.pack import EventRef, Pack
from stream_processors.insights.features import Params, Statement
from stream_processors.insights.segments import DAY_MS, Features

MAX_SECONDS: Final = 300

_SQL: Final = """
SELECT user_id,
  countIf(kind != 'said') AS known,
  toUnixTimestamp64Milli(minIf(at, kind != 'said')) AS known_ms,
  countIf(kind = 'order') AS ever,
  toUnixTimestamp64Milli(if(ever > 0, maxIf(at, kind = 'order'), maxIf(at, kind = 'signup'))) AS idle_ms,
  countIf(recent) AS orders,
  sumIf(micros, recent) AS spent,
  arrayMax(mapValues(sumMapIf(map(period, micros), recent))) AS peak,
  countIf(recent AND toDayOfWeek(at, 0, {zone:String}) >= 6) AS weekend,
  countIf(recent AND category != '') AS named,
  sumMapIf(map(category, toUInt64(1)), recent AND category != '') AS categories,
  arraySort(one -> (-toInt64(one.2), one.1), arrayZip(mapKeys(categories), mapValues(categories)))[1] AS top,
  top.1 AS top_category,
  top.2 AS top_orders,
  countIf(recent AND place != '') AS placed,
  uniqExactIf(place, recent AND place != '') AS places,
  anyIf(category, kind = 'said') AS before,
  sumIf(micros, kind = 'said') AS said_now
FROM (
  SELECT kind, at, user_id, micros, category, place, kind = 'order' AND at >= FROM_ AS recent,
    intDiv(toUnixTimestamp64Milli(UNTIL_) - toUnixTimestamp64Milli(at) - 1, {period_ms:Int64}) AS period
  FROM (
    SELECT 'order' AS kind, at, first.1 AS user_id, first.2 AS micros, first.3 AS category, first.4 AS place
    FROM (
      SELECT min(timestamp) AS at,
        argMin(tuple(user_id, amount_micros, CATEGORY_, PLACE_), (timestamp, event_id)) AS first
      FROM events WHERE tenant = {tenant:String} AND PURCHASE_ AND timestamp < UNTIL_
      GROUP BY order_id, if(order_id = '', event_id, ''))
    UNION ALL
    SELECT 'signup', min(timestamp) AS at, user_id, toInt64(0), '', ''
    FROM events WHERE tenant = {tenant:String} AND SIGNUP_ AND timestamp < UNTIL_ GROUP BY user_id
    UNION ALL
    SELECT 'said', max(timestamp) AS at, user_id, toInt64(countIf(timestamp = UNTIL_)),
      argMaxIf(toString(segment), (timestamp, event_id), timestamp < UNTIL_), ''
    FROM events WHERE tenant = {tenant:String} AND SEGMENT_ AND timestamp <= UNTIL_ GROUP BY user_id))
GROUP BY user_id
HAVING known > 0
ORDER BY user_id
LIMIT {most:UInt64}
SETTINGS max_execution_time = MAX_SECONDS_
"""


class Known(NamedTuple):
    """A user's features, the segment before the moment ("": none), and whether one was said at the very moment."""

    features: Features
    before: str
    said_now: bool


def statement(pack: Pack, tenant: str, as_of: int, declared: Patterns) -> Statement:
    """Features of every user known before `as_of` (Unix seconds), by user_id; one more than `most_users` at most."""
    params: Params = {
        "tenant": tenant,
        "until_ms": as_of * 1000,
        "from_ms": as_of * 1000 - declared.window_days * DAY_MS,
        "period_ms": declared.patterns.SEASONAL_SPENDER.period_days * DAY_MS,
        "zone": declared.time_zone,
        "most": declared.most_users + 1,
    }
    parts = {
        "UNTIL_": "fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')",
        "FROM_": "fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')",
        "MAX_SECONDS_": str(MAX_SECONDS),
        **{f"{role.upper()}_": _role(pack.roles[role], role, params) for role in ("purchase", "signup", "segment")},
    }
    for name, source in zip(("category", "place"), declared.sources(pack), strict=True):
        parts[f"{name.upper()}_"] = "''"
        if source is not None:
            column, params[f"{name}_key"] = source.place()
            parts[f"{name.upper()}_"] = f"JSONExtractString({column}, {{{name}_key:String}})"
    sql = _SQL
    for place, text in parts.items():
        sql = sql.replace(place, text)
    return Statement(sql, params)


def read(rows: Iterable[Mapping[str, Any]], as_of: int) -> list[Known]:
    """The rows of `statement`."""
    return [_known(row, as_of * 1000) for row in rows]


def _known(row: Mapping[str, Any], until_ms: int) -> Known:
    features = Features(
        user_id=str(row["user_id"]),
        known_for=until_ms - int(row["known_ms"]),
        idle_for=until_ms - int(row["idle_ms"]),
        ever_bought=int(row["ever"]) > 0,
        orders=int(row["orders"]),
        micros=int(row["spent"]),
        peak_micros=int(row["peak"]),
        weekend=int(row["weekend"]),
        named=int(row["named"]),
        top=int(row["top_orders"]),
        category=str(row["top_category"]),
        placed=int(row["placed"]),
        places=int(row["places"]),
    )
    return Known(features, str(row["before"]), int(row["said_now"]) > 0)


def _role(refs: Sequence[EventRef], role: str, params: Params) -> str:
    found = []
    for index, ref in enumerate(refs):
        params[f"{role}_{index}"] = ref.event_type
        condition = f"event_type = {{{role}_{index}:String}}"
        if ref.subtype is not None:
            params[f"{role}_{index}_sub"] = ref.subtype
            condition = f"({condition} AND subtype = {{{role}_{index}_sub:String}})"
        found.append(condition)
    return f"({' OR '.join(found)})"
