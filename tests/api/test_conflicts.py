"""Conflicts through HTTP, over the real engine."""

from __future__ import annotations

from sinks.warehouse import Warehouse
from stream_processors.watch.conflict_rows import Pair, Row, conflict_row, settled_row
from tests.api import rows
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.world import NOW

OFTEN = ("session_id", "source", "campaign_id", "creative_id", "segment", "channel", "order_id", "subtype", "pack")


def _line(tenant: str, event_id: str, user: str, chunk: int) -> Row:
    return {
        **dict.fromkeys((*OFTEN, "version", "key_id"), ""),
        **dict.fromkeys(("is_holdout", "backfill"), False),
        **dict.fromkeys(("amount_micros", "extra", "slot"), 0),
        "tenant": tenant,
        "event_id": event_id,
        "event_type": "user_engaged",
        "timestamp": NOW - 60,
        "received_at": NOW - 30 + chunk,
        "user_id": user,
        "chunk": chunk,
        "properties": f'{{"chunk": {chunk}}}',
        "context": "{}",
    }


def _put(store: Warehouse, tenant: str, event_id: str, kind: str, *, moved: bool, at: float) -> None:
    pair = Pair(_line(tenant, event_id, "b", 2), _line(tenant, event_id, "a", 1), kind)
    store.insert_lines("conflicts", conflict_row(pair, moved=moved, now=at))
    if moved:
        for row in store.query(f"SELECT * FROM conflicts WHERE tenant = '{tenant}' AND event_id = '{event_id}'"):
            store.insert_lines("conflicts", settled_row(row))


async def test_conflicts_show_what_went_and_what_stays(site: Site, tenant: str, store: Warehouse) -> None:
    _put(store, tenant, "x", "user", moved=True, at=NOW - 20)
    _put(store, tenant, "y", "body", moved=False, at=NOW - 10)
    _put(store, "somebody-else", "x", "user", moved=True, at=NOW - 5)
    answer = await get(site, tenant, "/conflicts")
    assert answer["total"] == 2
    assert [(one["event_id"], one["kind"], one["moved"]) for one in answer["conflicts"]] == [
        ("y", "body", False),
        ("x", "user", True),
    ]
    first = answer["conflicts"][1]
    assert first["settled"] is True
    assert (first["stays"]["user_id"], first["went"]["user_id"]) == ("a", "b")
    assert first["went"]["properties"] == {"chunk": 2}
    assert (await get(site, tenant, "/conflicts", kind="user"))["total"] == 1
    assert (await get(site, tenant, "/conflicts", event_id="y"))["total"] == 1
    page = await get(site, tenant, "/conflicts", limit=1, offset=1)
    assert (page["total"], page["conflicts"][0]["event_id"]) == (2, "x")
    await refused(site, tenant, "/conflicts", {"kind": "nonsense"})


async def test_emptied_cells_and_users_are_not_shown(site: Site, tenant: str, store: Warehouse) -> None:
    """What is left of an event that was moved away: rows of zeros."""
    gone = rows.user_state(tenant, "b", 0) | {"events": 0, "version": 2}
    rows.put(store, "predictions", rows.prediction(tenant, "b", 0.91, "critical"))
    rows.put(store, "user_state", gone)
    assert (await get(site, tenant, "/churn-risk"))["atRiskUsers"][0]["lastActivity"] is None
    cell = {"tenant": tenant, "minute": int(NOW) // 60 * 60, "event_type": "user_engaged", "shard": "0/4"}
    rows.put(store, "windows", {**cell, "events": 0, "users": 0, "version": 2})
    answer = await get(site, tenant, "/windows")
    assert answer["groups"] == [] and answer["total"]["events"] == 0
