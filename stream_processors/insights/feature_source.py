"""Where the churn runner gets features and labels from: a port, and its implementation over a query function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from online_models.churn import CHANNELS
from stream_processors.insights.features import (
    ACTIVE_DAYS,
    Conditions,
    Params,
    Roles,
    Statement,
    features_statement,
    known_condition,
    labels_statement,
    users_statement,
)

Row = Mapping[str, Any]
Query = Callable[[str, Params], Iterable[Row]]
Users = list[tuple[str, dict[str, float]]]

_PLAIN: Final = (
    "recency_days",
    "days_since_purchase",
    "days_since_signup",
    "purchases_30d",
    "purchases_90d",
    "spend_30d",
    "spend_90d",
    "sessions_7d",
    "sessions_30d",
    "active_days_30d",
    "clicks_30d",
    "unsubscribed_some",
    "unsubscribed_all",
    *(f"{kind}_{channel}_30d" for kind in ("delivered", "opened") for channel in CHANNELS),
)


class FeatureSource(Protocol):
    """What the churn runner asks. Times are Unix seconds; only events before `as_of` may count in features.

    Events received at or after `known_by` do not exist: so a question has the same answer whenever it is asked.
    """

    def first_event(self, tenant: str, known_by: float = math.inf) -> float | None:
        """Unix seconds of the tenant's first activity, sign-ups aside; None when there is none."""
        ...

    def features(self, tenant: str, as_of: float, known_by: float = math.inf) -> Users:
        """(user_id, features) of every user active in the 30 days before `as_of`."""
        ...

    def features_of(self, tenant: str, as_of: float, users: Sequence[str]) -> Users:
        """The same for the named users, as far as they are known."""
        ...

    def labels(self, tenant: str, as_of: float, horizon_days: int, known_by: float = math.inf) -> Mapping[str, bool]:
        """Who of the users scored as of `as_of` was lost in the `horizon_days` after it."""
        ...


def to_features(row: Row) -> dict[str, float]:
    """The features of `online_models.churn` from a row of `features_statement`; what is unknown is absent."""
    known = {name: float(row[name]) for name in _PLAIN if row[name] is not None}
    gap = ACTIVE_DAYS / max(known["active_days_30d"], 1.0)
    delivered, opened = float(row["delivered_30d"]), float(row["opened_30d"])
    known |= {
        "never_purchased": 0.0 if "days_since_purchase" in known else 1.0,
        "recency_vs_gap": _log(known["recency_days"]) - math.log1p(gap),
        "purchase_trend": _log(known["purchases_30d"]) - _log(known["purchases_90d"] / 3),
        "spend_trend": _log(known["spend_30d"]) - _log(known["spend_90d"] / 3),
        "engagement_trend": _log(float(row["activity_7d"])) - _log(float(row["activity_30d"]) * 7 / 30),
    }
    if delivered > 0:
        known["open_rate_30d"] = min(opened / delivered, 1.0)
    return known


def _log(value: float) -> float:
    return math.log1p(max(value, 0.0))


class WarehouseFeatures:
    """A `FeatureSource` over a query port: `query(sql, params)` gives rows as mappings.

    Raises `ConfigError` at once when the pack declares no activity. Errors of the port pass through.
    """

    def __init__(self, query: Query, roles: Roles) -> None:
        Conditions(roles)
        self._query, self._roles = query, roles

    def first_event(self, tenant: str, known_by: float = math.inf) -> float | None:
        """Unix seconds of the tenant's first activity, None when there is none.

        Sign-ups do not count: they are often older than the record of what people did, and days without that record
        would teach the model that everybody leaves.
        """
        conditions = Conditions(self._roles)
        named = conditions.named()
        known = known_condition(conditions.params, known_by)
        sql = (
            "SELECT count() AS n, toUnixTimestamp64Milli(min(timestamp)) / 1000 AS first FROM events "
            f"WHERE tenant = {{tenant:String}} AND {named['active']} AND NOT {named['signup']} AND {known}"
        )
        row = next(iter(self._query(sql, {"tenant": tenant, **conditions.params})))
        return float(row["first"]) if int(row["n"]) else None

    def features(self, tenant: str, as_of: float, known_by: float = math.inf) -> Users:
        """Features of every user active in the 30 days before `as_of` (Unix seconds)."""
        return self._rows(features_statement(self._roles, tenant, as_of, known_by))

    def features_of(self, tenant: str, as_of: float, users: Sequence[str]) -> Users:
        """Features of the named users, as far as they are known."""
        return self._rows(users_statement(self._roles, tenant, as_of, users)) if users else []

    def labels(self, tenant: str, as_of: float, horizon_days: int, known_by: float = math.inf) -> dict[str, bool]:
        """Who of the users scored as of `as_of` was lost in the `horizon_days` after it."""
        statement = labels_statement(self._roles, tenant, as_of, horizon_days, known_by)
        return {str(row["user_id"]): bool(int(row["churned"])) for row in self._query(statement.sql, statement.params)}

    def _rows(self, statement: Statement) -> Users:
        return [(str(row["user_id"]), to_features(row)) for row in self._query(statement.sql, statement.params)]
