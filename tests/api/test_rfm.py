"""Recency, frequency and monetary value through the API, against plain Python over the raw events."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from schemas.segments import shipped_clusters
from schemas.taxonomy import Pack
from tests.api.ask import get
from tests.api.conftest import Site
from tests.api.people import DAY_MS, iso, money, over, part, purchase, random_events
from tests.api.world import DAY, NOW, Event, lines
from tests.oracle.segments import orders, rfm

Insert = Callable[[str, list[Event]], None]


@pytest.fixture
def insert(store: Any, pack: Pack) -> Insert:
    """Stores events of any age."""
    return lambda tenant, events: store.insert_lines("events", lines(events, pack, tenant, backfill=True))


def check(answer: dict[str, Any], events: list[Event], start: int, end: int) -> set[str]:
    """Every number of every cluster; gives the clusters that have somebody. Times in ms."""
    scores, by_scores = rfm(events, start, end), shipped_clusters().by_scores()
    inside = [o for o in orders(events, end) if o.ms >= start]
    assert answer["users"] == len(scores) > 10
    for one in answer["clusters"]:
        users = {u for u, combination in scores.items() if by_scores[combination] == one["id"]}
        bought = [o for o in inside if o.user_id in users]
        age = sum(end - max(o.ms for o in bought if o.user_id == u) for u in users)
        wanted = {
            "users": len(users), "share": over(100 * len(users), len(scores)), "orders": len(bought),
            "avg_orders": over(len(bought), len(users)), "spend": float(money(bought)),
            "avg_spend": over(money(bought), len(users)),
            "avg_recency_days": over(Fraction(age, DAY_MS), len(users)),
            **{f"avg_{name}": over(sum(scores[u][n] for u in users), len(users)) for n, name in enumerate("rfm")},
        }  # fmt: skip
        assert part(one, wanted) == wanted
    return {one["id"] for one in answer["clusters"] if one["users"]}


async def test_rfm_equals_the_independent_computation(site: Site, insert: Insert) -> None:
    tenant, made = "rfm", random_events(22, users=60, orders=400, n=1800)
    insert(tenant, made + made[:200])
    seen = set()
    for start, end in ((NOW - 365 * DAY, NOW), (NOW - 100 * DAY, NOW - 10 * DAY)):
        answer = await get(site, tenant, "/segments/rfm", start=iso(start), end=iso(end))
        seen |= check(answer, made, int(start * 1000), int(end * 1000))
    assert len(seen) >= 7, "most clusters must have somebody"


async def test_equal_users_get_equal_scores(site: Site, insert: Insert, tenant: str) -> None:
    """Ten alike are all in the lowest fifth of what there is; one better one is above them all."""
    insert(tenant, [purchase(f"u{n}", 5, NOW - 2 * DAY) for n in range(10)])
    answer = await get(site, tenant, "/segments/rfm")
    assert [(one["id"], one["users"]) for one in answer["clusters"] if one["users"]] == [("hibernating", 10)]
    insert(tenant, [purchase("best", 9, NOW - DAY), purchase("best", 8, NOW - DAY)])
    answer = await get(site, tenant, "/segments/rfm")
    found = {one["id"]: (one["users"], one["avg_r"]) for one in answer["clusters"] if one["users"]}
    assert found == {"champions": (1, 5.0), "hibernating": (10, 1.0)}
