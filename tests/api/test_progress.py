"""How far a long read is, by the warehouse's own list of queries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from api.progress import Labelled, label, progress
from api.reader import ClickHouseReader, Params, QueryFailed, Row
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.world import Event, World

STEPS = {"steps": "impression,click,purchase", "window": "24h"}
NOTHING = {"running": False, "rows_read": 0, "rows_total": None, "percent": None, "elapsed_seconds": 0.0}


class Listed:
    """A warehouse that lists one query, or refuses to."""

    def __init__(self, row: Row | None) -> None:
        self._row = row
        self.asked: list[str] = []

    async def rows(self, sql: str, params: Params) -> list[Row]:
        self.asked.append(sql)
        if self._row is None:
            raise QueryFailed("not enough privileges")
        return [self._row]

    async def ping(self) -> bool:
        return True


def test_a_label_is_of_a_tenant_and_a_question() -> None:
    asked = [("steps", "a,b"), ("window", "1d")]
    assert label("funnel", "a", asked) == label("funnel", "a", asked[::-1])
    others = {label("funnel", "b", asked), label("cohort", "a", asked), label("funnel", "a", [*asked, ("end", "x")])}
    assert len(others | {label("funnel", "a", asked)}) == 4


async def test_what_is_told() -> None:
    told = await progress(Listed((2, 250, 1000, 1.23456)), "x")
    assert told == {
        "running": True, "rows_read": 250, "rows_total": 1000, "percent": 25.0, "elapsed_seconds": 1.235,
    }  # fmt: skip
    assert (await progress(Listed((1, 1500, 1000, 1)), "x"))["percent"] == 99.0, "the total is an estimate"
    assert (await progress(Listed((1, 0, 0, 1)), "x"))["percent"] is None
    assert await progress(Listed((0, 0, 0, 0)), "x") == NOTHING
    assert await progress(Listed(None), "x") == {**NOTHING, "running": None}


async def test_statements_carry_their_label() -> None:
    inner = Listed((1,))
    assert await Labelled(inner, "funnel:1").rows("SELECT 1", {}) == [(1,)]
    assert inner.asked == ["SELECT 1 /* funnel:1 */"] and await Labelled(inner, "x").ping()


async def test_the_warehouse_tells_of_what_runs(reader: ClickHouseReader) -> None:
    name = label("funnel", "running", [])
    running = asyncio.create_task(Labelled(reader, name).rows("SELECT sum(sleepEachRow(0.02)) FROM numbers(100)", {}))
    told = []
    while not running.done():
        told.append(await progress(reader, name))
        await asyncio.sleep(0.05)
    assert any(one["running"] and one["elapsed_seconds"] > 0 for one in told)
    assert await progress(reader, label("funnel", "other", [])) == NOTHING
    assert await progress(reader, name) == NOTHING


async def test_the_endpoint_takes_the_parameters_of_the_funnel(
    site: Site, tenant: str, insert: Callable[[str, list[Event]], None]
) -> None:
    insert(tenant, World(96).events(200))
    assert await get(site, tenant, "/funnel/progress", **STEPS) == NOTHING
    assert (await get(site, tenant, "/funnel", **STEPS))["funnel"]
    assert (await refused(site, tenant, "/funnel/progress", {"steps": "impression"}))["field"] == "steps"
