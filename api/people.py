"""One row for each user a tenant knows: what segments are made of. SQL with bound places only.

A user is known from a sign-up, an order or an event about the segment. Orders count once, at their first event, whose
user and amount they have. `Wanted` says what else is read, since each part is a read of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from api.rfm import cluster_rows
from api.slices import Binder
from api.sources import events_where, order_rows
from schemas.segments import Clusters
from schemas.taxonomy.pack import Pack


class Part(StrEnum):
    """What may be read beside orders, sign-ups and segments, with the roles that it needs."""

    ACTIVE = "active"
    CLUSTER = "cluster"
    RESPONSE = "response"


ROLES: Final[Mapping[Part, tuple[str, ...]]] = {
    Part.ACTIVE: ("activity",),
    Part.CLUSTER: ("purchase",),
    Part.RESPONSE: ("impression", "click", "conversion"),
}

_PEOPLE: Final = """(SELECT user_id,
  countIf(kind = 'signup') > 0 AS signed_up, maxIf(at, kind = 'signup') AS signed_at,
  anyIf(text, kind = 'signup') AS channel,
  countIf(kind = 'order') AS orders, maxIf(at, kind = 'order') AS ordered_at,
  sumIf(toInt128(number), kind = 'order') AS micros,
  sumIf(toInt128(number), kind = 'order' AND at >= {start}) AS recent_micros,
  anyIf(text, kind = 'segment') AS segment,
  countIf(kind = 'active') > 0 AS seen, maxIf(at, kind = 'active') AS active_at,
  anyIf(text, kind = 'cluster') AS cluster,
  sumIf(number, kind = 'impression') AS impressions, sumIf(number, kind = 'click') AS clicks,
  countIf(kind = 'converted') > 0 AS converted
FROM ({union}) GROUP BY user_id HAVING countIf(kind IN ('signup', 'order', 'segment')) > 0)"""


@dataclass(frozen=True)
class Wanted:
    """Whose people, up to when (`end_ms`, exclusive), with spend and response since `start_ms`."""

    tenant: str
    pack: Pack
    start_ms: int
    end_ms: int
    parts: frozenset[Part] = frozenset()


def people(bind: Binder, wanted: Wanted, clusters: Clusters) -> str:
    """A subquery of users with their columns. Parts whose roles the pack lacks are empty."""
    rows = [_orders(bind, wanted), _signups(bind, wanted), _segments(bind, wanted)]
    if _has(wanted, Part.ACTIVE):
        rows.append(_active(bind, wanted))
    if _has(wanted, Part.CLUSTER):
        scored = cluster_rows(bind, wanted.tenant, wanted.pack, clusters, wanted.end_ms)
        rows.append(f"SELECT 'cluster', {_never(bind)}, user_id, cluster, toInt64(0) FROM {scored}")
    if _has(wanted, Part.RESPONSE):
        rows += _response(bind, wanted)
    union = " UNION ALL ".join(rows)
    return _PEOPLE.format(start=bind.time(wanted.start_ms), union=union)


def known_to(pack: Pack) -> bool:
    """Whether a pack declares what makes people."""
    return all(pack.roles.get(role) for role in ("purchase", "signup", "segment"))


def _has(wanted: Wanted, part: Part) -> bool:
    return part in wanted.parts and all(wanted.pack.roles.get(role) for role in ROLES[part])


def _where(bind: Binder, wanted: Wanted, role: str) -> str:
    """The events of a role before the end."""
    return f"{events_where(bind, wanted.tenant, wanted.pack.roles[role])} AND {bind.before(wanted.end_ms)}"


def _never(bind: Binder) -> str:
    return bind.time(0)


def _orders(bind: Binder, wanted: Wanted) -> str:
    refs = wanted.pack.roles["purchase"]
    columns = ("user_id", "amount_micros")
    rows = order_rows(bind, wanted.tenant, refs, columns, before_ms=wanted.end_ms, by_campaign=False)
    return f"SELECT 'order' AS kind, timestamp AS at, user_id, '' AS text, amount_micros AS number FROM {rows}"


def _signups(bind: Binder, wanted: Wanted) -> str:
    return (
        "SELECT 'signup', min(timestamp), user_id, argMin(toString(channel), (timestamp, event_id)), toInt64(0) "
        f"FROM events WHERE {_where(bind, wanted, 'signup')} GROUP BY user_id"
    )


def _segments(bind: Binder, wanted: Wanted) -> str:
    return (
        "SELECT 'segment', max(timestamp), user_id, argMax(toString(segment), (timestamp, event_id)), toInt64(0) "
        f"FROM events WHERE {_where(bind, wanted, 'segment')} GROUP BY user_id"
    )


def _active(bind: Binder, wanted: Wanted) -> str:
    where = _where(bind, wanted, "activity")
    return f"SELECT 'active', max(timestamp), user_id, '', toInt64(0) FROM events WHERE {where} GROUP BY user_id"


def _response(bind: Binder, wanted: Wanted) -> list[str]:
    """Impressions and clicks, repeats collapsed, and who converted, as the metrics of these names count them."""
    since = bind.since(wanted.start_ms)
    counted = [
        f"SELECT '{kind}', {_never(bind)}, user_id, '', toInt64(count()) FROM events FINAL "
        f"WHERE {_where(bind, wanted, kind)} AND {since}{extra} GROUP BY user_id"
        for kind, extra in (("impression", " AND NOT is_holdout"), ("click", ""))
    ]
    refs = wanted.pack.roles["conversion"]
    rows = order_rows(bind, wanted.tenant, refs, ("user_id",), before_ms=wanted.end_ms, by_campaign=True)
    converted = f"SELECT DISTINCT 'converted', {_never(bind)}, user_id, '', toInt64(0) FROM {rows} WHERE {since}"
    return [*counted, converted]
