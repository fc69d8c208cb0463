"""Custom segments are events: `segment_defined` and `segment_deleted`. The newest of a segment says what it is now."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.criteria import Criteria, parse
from api.problems import Problem
from api.reader import Reader
from api.slices import Binder
from api.times import iso
from schemas.segments import Clusters
from schemas.taxonomy.pack import Pack

DEFINED: Final = "segment_defined"
DELETED: Final = "segment_deleted"
MOST: Final = 50
"""Custom segments of a tenant: the list evaluates them all in one read."""

_NAMESPACE: Final = uuid.UUID("5a1e2b0c-7d64-5f0e-9b4f-3c8d1a2e6f70")


@dataclass(frozen=True)
class Custom:
    """A custom segment. `event_id`: of the event that says so, "" before there is one."""

    id: str
    name: str
    criteria: Criteria
    event_id: str = ""
    defined_ms: int | None = None


def custom_of(tenant: str, name: str, criteria: Criteria) -> Custom:
    """A new segment: its id follows from the criteria, so the same criteria are the same segment."""
    text = json.dumps(criteria.plain(), sort_keys=True)
    return Custom(str(uuid.uuid5(_NAMESPACE, f"{tenant}\x1f{text}")), name, criteria)


async def read_customs(reader: Reader, tenant: str, pack: Pack, clusters: Clusters) -> dict[str, Custom]:
    """The custom segments that are not deleted, oldest definition first, at most `MOST`.

    What somebody else sent as a definition and is none is left out.
    """
    bind = Binder()
    sql = (
        "SELECT id, newest.1, newest.2, newest.3, newest.4 FROM (SELECT JSONExtractString(properties, 'segment_id') "
        "AS id, argMax(tuple(toString(event_type), event_id, properties, toUnixTimestamp64Milli(timestamp)), "
        f"(timestamp, event_id)) AS newest FROM events WHERE tenant = {bind(tenant)} "
        f"AND event_type IN {bind([DEFINED, DELETED], 'Array(String)')} GROUP BY id) "
        f"WHERE newest.1 = {bind(DEFINED)} ORDER BY newest.4, id LIMIT {bind(2 * MOST, 'UInt32')}"
    )
    found: dict[str, Custom] = {}
    for segment_id, _, event_id, properties, at in await reader.rows(sql, bind.params):
        one = _custom(segment_id, event_id, json.loads(properties), int(at), pack, clusters)
        if one is not None and len(found) < MOST:
            found[segment_id] = one
    return found


def _custom(
    segment_id: str, event_id: str, told: Mapping[str, Any], at: int, pack: Pack, clusters: Clusters
) -> Custom | None:
    try:
        criteria = parse(told["criteria"], pack, clusters)
    except Problem:
        return None
    return Custom(segment_id, told["segment_name"], criteria, event_id, at)


async def last_change(reader: Reader, tenant: str, segment_id: str) -> str:
    """The id of the newest event about a segment, deleted or not; "" when there is none."""
    bind = Binder()
    types = bind([DEFINED, DELETED], "Array(String)")
    where = f"tenant = {bind(tenant)} AND event_type IN {types}"
    named = f"JSONExtractString(properties, 'segment_id') = {bind(segment_id)}"
    sql = f"SELECT argMax(event_id, (timestamp, event_id)) FROM events WHERE {where} AND {named}"
    return str((await reader.rows(sql, bind.params))[0][0])


def definition(tenant: str, one: Custom, last: str, who: str, now_ms: int) -> dict[str, Any]:
    """The event that defines or renames a segment after the event `last`.

    Asked for twice before it is stored, it is the same event.
    """
    properties = {
        "segment_id": one.id,
        "segment_name": one.name,
        "criteria": one.criteria.plain(),
        "defined_by": who,
    }
    return _event(DEFINED, tenant, one.id, f"{one.name}\x1f{last}", who, now_ms, properties)


def deletion(tenant: str, one: Custom, who: str, now_ms: int) -> dict[str, Any]:
    """The event that removes a segment."""
    return _event(DELETED, tenant, one.id, one.event_id, who, now_ms, {"segment_id": one.id, "deleted_by": who})


def _event(
    event_type: str, tenant: str, segment_id: str, state: str, who: str, now_ms: int, properties: dict[str, Any]
) -> dict[str, Any]:
    """`state`: what the event follows on, so that a change back and forth is three events and not one."""
    key = "\x1f".join((tenant, segment_id, event_type, state))
    return {
        "event_id": str(uuid.uuid5(_NAMESPACE, key)),
        "event_type": event_type,
        "timestamp": iso(now_ms),
        "user_id": who,
        "source": "backend",
        "properties": properties,
    }
