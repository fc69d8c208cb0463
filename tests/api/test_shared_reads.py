"""What several metrics have in common is read once, and they are what each is alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from api.expected import ExpectedReader
from api.ledger import LedgerReader
from api.metrics import Limits, MetricReader
from api.reader import ClickHouseReader, Params, Row, WarehouseAway
from api.shared_reads import SharedReads
from api.slices import Interval, Slice
from schemas.clock import ManualClock
from schemas.metrics import Dimension, shipped_dictionary
from schemas.taxonomy import Pack
from tests.api.world import NOW, Event, World

Insert = Callable[[str, list[Event]], None]
CARDS = ("roas", "ctr", "conversion_rate", "cac", "aov", "engagement_rate", "impressions", "budget_utilization")
METRICS = {metric.id: metric for metric in shipped_dictionary().metrics}


class Slow:
    """A reader that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Params]] = []
        self.answers: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()

    async def rows(self, sql: str, params: Params) -> list[Row]:
        self.asked.append((sql, params))
        return await self.answers

    async def ping(self) -> bool:
        return True


class Spy:
    """A reader that remembers what was asked."""

    def __init__(self, inner: ClickHouseReader) -> None:
        self._inner = inner
        self.asked: list[str] = []

    async def rows(self, sql: str, params: Params) -> list[Row]:
        self.asked.append(f"{sql} {params}")
        return await self._inner.rows(sql, params)

    async def ping(self) -> bool:
        return await self._inner.ping()


async def begun(slow: Slow, *asked: tuple[str, Params]) -> list[asyncio.Task[list[Row]]]:
    shared = SharedReads(slow)
    tasks = [asyncio.create_task(shared.rows(*one)) for one in asked]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_the_same_statement_is_read_once_and_another_one_by_itself() -> None:
    slow = Slow()
    same = ("SELECT {p0:String}", {"p0": "a"})
    tasks = await begun(slow, same, ("SELECT {p0:String}", {"p0": "b"}), ("SELECT {p0:String}", {"p0": "a"}))
    slow.answers.set_result([("found",)])
    assert await asyncio.gather(*tasks) == [[("found",)]] * 3
    assert [params["p0"] for _, params in slow.asked] == ["a", "b"]


async def test_whoever_gives_up_leaves_the_others_their_answer() -> None:
    slow = Slow()
    first, second = await begun(slow, ("SELECT 1", {}), ("SELECT 1", {}))
    first.cancel()
    await asyncio.sleep(0)
    slow.answers.set_result([(1,)])
    assert await second == [(1,)] and len(slow.asked) == 1


async def test_a_failure_is_everybodys() -> None:
    slow = Slow()
    tasks = await begun(slow, ("SELECT 1", {}), ("SELECT 1", {}))
    slow.answers.set_exception(WarehouseAway("away"))
    for task in tasks:
        with pytest.raises(WarehouseAway):
            await task


async def test_metrics_together_read_nothing_twice(
    reader: ClickHouseReader, clock: ManualClock, tenant: str, pack: Pack, insert: Insert
) -> None:
    insert(tenant, World(41).events(300))
    end = int(NOW * 1000)
    questions = (
        Slice(tenant, end - 86_400_000 * 7, end, {}, interval=Interval.DAY, known_ms=end),
        Slice(tenant, end - 86_400_000 * 7, end, {}, group_by=Dimension.CAMPAIGN, known_ms=end),
    )
    for asked in questions:
        spy = Spy(reader)
        metrics = MetricReader(spy, LedgerReader(spy, clock), ExpectedReader(spy, clock), Limits(1000, 100))
        names = [name for name in CARDS if asked.group_by is None or asked.group_by in METRICS[name].dimensions]
        alone = [await metrics.answer(METRICS[name], asked, pack, known_as_of=end) for name in names]
        once, spy.asked = spy.asked, []
        together = metrics.together()
        found = [together.answer(METRICS[name], asked, pack, known_as_of=end) for name in names]
        assert await asyncio.gather(*found) == alone
        assert len(spy.asked) == len({*spy.asked}) < len(once)
