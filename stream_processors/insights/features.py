"""What a user had done before a moment, in one grouped query over `events FINAL`: churn features, and churn labels.

Exact as of a moment: only events with `timestamp < as_of` count, of those that were received before `known_by`, so
features can be asked for again at any later time and come out the same. Which events are purchases, activity and so on
comes from the pack's roles; every name and time is a bound parameter. A purchase is one `order_id`, however often it
was reported, at the largest amount reported; without an `order_id` each event is one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from online_models.churn import CHANNELS, HORIZON_DAYS
from schemas.errors import ConfigError

ACTIVE_DAYS: Final = 30
"""Users are scored when they were active within this many days."""

LOOKBACK_DAYS: Final = 400
"""Older events are not read: no feature looks further back."""

_MS_PER_DAY: Final = 86_400_000


class Ref(Protocol):
    """An event type, or one of its sub-types (`schemas.taxonomy.EventRef`)."""

    @property
    def event_type(self) -> str: ...

    @property
    def subtype(self) -> str | None: ...


Roles = Mapping[str, Sequence[Ref]]
Params = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text with its bound parameters."""

    sql: str
    params: Params


_FEATURES = """
SELECT * EXCEPT (orders_30d, orders_90d) FROM (SELECT user_id,
  maxIf(timestamp, {active}) AS last_active,
  dateDiff('millisecond', last_active, {until}) / {day} AS recency_days,
  if(countIf({purchase}) = 0, NULL, dateDiff('millisecond', maxIf(timestamp, {purchase}), {until}) / {day})
    AS days_since_purchase,
  if(countIf({signup}) = 0, NULL, dateDiff('millisecond', minIf(timestamp, {signup}), {until}) / {day})
    AS days_since_signup,
  maxMapIf(map(order_key, amount_micros), {purchase} AND {d30}) AS orders_30d,
  maxMapIf(map(order_key, amount_micros), {purchase} AND {d90}) AS orders_90d,
  length(orders_30d) AS purchases_30d,
  length(orders_90d) AS purchases_90d,
  arraySum(mapValues(orders_30d)) / 1e6 AS spend_30d,
  arraySum(mapValues(orders_90d)) / 1e6 AS spend_90d,
  {sessions_7d} AS sessions_7d,
  {sessions_30d} AS sessions_30d,
  countIf({active} AND {d7}) AS activity_7d,
  countIf({active} AND {d30}) AS activity_30d,
  uniqExactIf(toDate(timestamp), {active} AND {d30}) AS active_days_30d,
  {channels}
  countIf({delivered} AND {d30}) AS delivered_30d,
  countIf({opened} AND {d30}) AS opened_30d,
  countIf({click} AND {d30}) AS clicks_30d,
  countIf({unsubscribe} AND NOT {unsubscribe_all}) > 0 AS unsubscribed_some,
  countIf({unsubscribe_all}) > 0 AS unsubscribed_all
FROM (SELECT *, if(order_id = '', event_id, order_id) AS order_key FROM events FINAL
      WHERE tenant = {{tenant:String}} AND timestamp >= {oldest} AND timestamp < {until} AND {known}
        AND event_type IN ({types}){chosen})
GROUP BY user_id
{having})
ORDER BY user_id
"""

_LABELS = """
SELECT user_id, countIf({active} AND {after}) = 0 OR countIf({unsubscribe_all} AND {after}) > 0 AS churned
FROM events FINAL
WHERE tenant = {{tenant:String}} AND timestamp >= {d30_start} AND timestamp < {horizon_end} AND {known}
  AND event_type IN ({types})
GROUP BY user_id
HAVING countIf({active} AND NOT {after}) > 0
ORDER BY user_id
"""

_LABELLED = """
INSERT INTO predictions
SELECT p.tenant, p.model, p.model_version, p.subject_id, p.as_of, p.prediction_id, p.probability, p.tier, p.base,
  p.contributions, p.features, toUInt8(l.churned) AS label, p.version + 1 AS version
FROM (SELECT * FROM predictions FINAL
      WHERE tenant = {{tenant:String}} AND model = {{model:String}} AND as_of = {until} AND label IS NULL) AS p
INNER JOIN ({labels}) AS l ON p.subject_id = l.user_id
"""


def features_statement(roles: Roles, tenant: str, as_of: float, known_by: float = math.inf) -> Statement:
    """The features, as of `as_of` (Unix seconds), of every user active in the `ACTIVE_DAYS` before it, by user_id."""
    return _features(roles, tenant, as_of, known_by, "HAVING activity_30d > 0", "", {})


def users_statement(roles: Roles, tenant: str, as_of: float, users: Sequence[str]) -> Statement:
    """The same for the named `users` who were ever active within the lookback."""
    names: Params = {f"user_{i}": user for i, user in enumerate(users)}
    chosen = ", ".join(f"{{{name}:String}}" for name in names)
    return _features(roles, tenant, as_of, math.inf, "HAVING last_active > toDateTime64(0, 3, 'UTC')", chosen, names)


def labels_statement(
    roles: Roles, tenant: str, as_of: float, horizon_days: int = HORIZON_DAYS, known_by: float = math.inf
) -> Statement:
    """`user_id, churned` (0 or 1) of every user scored as of `as_of`, from the `horizon_days` after it."""
    conditions = Conditions(roles)
    named = conditions.named()
    params = _times(tenant, as_of, conditions.params)
    params["horizon_ms"] = round(as_of * 1000) + horizon_days * _MS_PER_DAY
    sql = _LABELS.format(
        **named,
        types=conditions.types(),
        known=known_condition(params, known_by),
        after=f"timestamp >= {_UNTIL}",
        d30_start=_ago(ACTIVE_DAYS),
        horizon_end=_HORIZON,
    )
    return Statement(sql, params)


def label_predictions_statement(
    roles: Roles, tenant: str, model: str, as_of: float, known_by: float = math.inf
) -> Statement:
    """Writes the labels of `as_of` beside the stored predictions; running it again changes nothing."""
    labels = labels_statement(roles, tenant, as_of, known_by=known_by)
    return Statement(_LABELLED.format(until=_UNTIL, labels=labels.sql), {**labels.params, "model": model})


_UNTIL: Final = "fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC')"
_HORIZON: Final = "fromUnixTimestamp64Milli({horizon_ms:Int64}, 'UTC')"


class Conditions:
    """SQL conditions for roles, each name of the pack a parameter. A role without events is never true."""

    def __init__(self, roles: Roles) -> None:
        if not roles.get("activity"):
            raise ConfigError("churn needs the role `activity`: list the events that show a user is there", key="roles")
        self.params: Params = {}
        self._roles = roles
        self._types: set[str] = set()
        self.has_sessions = bool(roles.get("session_start"))

    def named(self) -> dict[str, str]:
        """Every condition that the statements use, by its name there."""
        purchase = self._role("purchase")
        found = {name: self._role(name) for name in ("signup", "click", "unsubscribe", "unsubscribe_all")}
        return {
            **found,
            "purchase": purchase,
            "active": f"({self._role('activity')} OR {purchase})",
            "session": self._role("session_start"),
            "delivered": f"({self._role('impression')} AND NOT is_holdout OR {self._role('sent')})",
            "opened": f"({self._role('open')} OR {self._role('message_open')})",
        }

    def types(self) -> str:
        """Every event type that the conditions named so far speak of, for reading no other rows."""
        return ", ".join(f"{{{name}:String}}" for name in self.params if name in self._types)

    def _role(self, role: str) -> str:
        return (
            "(" + (" OR ".join(self._ref(role, i, ref) for i, ref in enumerate(self._roles.get(role, ()))) or "0") + ")"
        )

    def _ref(self, role: str, index: int, ref: Ref) -> str:
        self.params[f"{role}_{index}"] = ref.event_type
        self._types.add(f"{role}_{index}")
        condition = f"event_type = {{{role}_{index}:String}}"
        if ref.subtype is None:
            return condition
        self.params[f"{role}_{index}_sub"] = ref.subtype
        return f"({condition} AND subtype = {{{role}_{index}_sub:String}})"


def _features(
    roles: Roles, tenant: str, as_of: float, known_by: float, having: str, chosen: str, extra: Params
) -> Statement:
    conditions = Conditions(roles)
    named = conditions.named()
    days = {f"d{n}": f"timestamp >= {_ago(n)}" for n in (7, 30, 90)}
    sql = _FEATURES.format(
        **named,
        **days,
        sessions_7d=_sessions(conditions, named, days["d7"]),
        sessions_30d=_sessions(conditions, named, days["d30"]),
        channels=_channels(conditions, named, days["d30"]),
        types=conditions.types(),
        known=known_condition(conditions.params, known_by),
        day=f"{_MS_PER_DAY}.",
        until=_UNTIL,
        oldest=_ago(LOOKBACK_DAYS),
        chosen=f" AND user_id IN ({chosen})" if chosen else "",
        having=having,
    )
    return Statement(sql, {**_times(tenant, as_of, conditions.params), **extra})


def _sessions(conditions: Conditions, named: Mapping[str, str], since: str) -> str:
    if conditions.has_sessions:
        return f"countIf({named['session']} AND {since})"
    return f"uniqExactIf(session_id, {named['active']} AND session_id != '' AND {since})"


def _channels(conditions: Conditions, named: Mapping[str, str], since: str) -> str:
    lines = []
    for channel in CHANNELS:
        conditions.params[f"channel_{channel}"] = channel
        here = f"channel = {{channel_{channel}:String}} AND {since}"
        lines.append(f"countIf({named['delivered']} AND {here}) AS delivered_{channel}_30d,")
        lines.append(f"countIf({named['opened']} AND {here}) AS opened_{channel}_30d,")
    return "\n  ".join(lines)


def known_condition(params: Params, known_by: float) -> str:
    """The condition that an event was received before `known_by`; always true without an end."""
    if not math.isfinite(known_by):
        return "1"
    params["known_by_ms"] = round(known_by * 1000)
    return "received_at < fromUnixTimestamp64Milli({known_by_ms:Int64}, 'UTC')"


def _ago(days: int) -> str:
    return f"fromUnixTimestamp64Milli({{as_of_ms:Int64}} - {days * _MS_PER_DAY}, 'UTC')"


def _times(tenant: str, as_of: float, params: Params) -> Params:
    return {**params, "tenant": tenant, "as_of_ms": round(as_of * 1000)}
