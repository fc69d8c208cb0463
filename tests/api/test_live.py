"""The live stream, over a real socketless ASGI connection and the real engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from api.context import Caller
from api.problems import Problem
from api.routing import ROOT
from schemas.keys import Role
from schemas.metrics import shipped_dictionary
from sinks.warehouse import Warehouse
from tests.api import rows
from tests.api.conftest import Site
from tests.api.exact import check
from tests.api.world import NOW, World
from tests.oracle.facts import milliseconds
from tests.oracle.metrics import Oracle, Scope


class Events:
    """The messages of one stream."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self.comments = 0
        self.seen: list[tuple[str, Any]] = []

    async def next(self) -> tuple[str, Any]:
        while True:
            text = (await asyncio.wait_for(anext(self._stream), 20)).decode()
            if text.startswith(":"):
                self.comments += 1
                return "comment", None
            event, data = text.strip().split("\n")
            found = event.removeprefix("event: "), json.loads(data.removeprefix("data: "))
            self.seen.append(found)
            return found

    async def wait(self, name: str, accept: Callable[[Any], bool] = lambda _: True) -> Any:
        """The next message of this name that is accepted."""
        while True:
            event, data = await self.next()
            if event == name and accept(data):
                return data


@contextlib.asynccontextmanager
async def stream(site: Site, tenant: str) -> AsyncIterator[Events]:
    hub = site.app.state.live
    who = Caller("key", tenant, Role.VIEWER, site.app.state.context.packs["marketing"])
    try:
        yield Events(hub.subscribe(who))
    finally:
        await hub.close()


async def test_a_subscriber_gets_everything_then_what_changes(
    site: Site, tenant: str, insert: Callable[[str, list[Any]], None], store: Warehouse
) -> None:
    """hello, then every object once; after new events and an alert, the objects that these changed."""
    insert(tenant, World(21).events(80))
    async with stream(site, tenant) as events:
        hello = await events.wait("hello")
        assert hello["tenant"] == tenant and "roas" in hello["metrics"]
        for _ in hello["metrics"]:
            metric = await events.wait("metric")
            assert set(metric) >= {"metric", "value", "numerator", "denominator", "completeness", "as_of"}
            assert "groups" not in metric and "series" not in metric
        assert {name for name, _ in events.seen} >= {"pipeline", "alerts", "anomalies", "metric"}
        before = next(one["value"] for name, one in events.seen if name == "metric" and one["metric"] == "events")
        more = World(22).events(30)
        for one in more:
            one["timestamp"] = "2026-11-21T09:29:00Z"
        insert(tenant, more)
        after = await events.wait("metric", lambda one: one["metric"] == "events" and one["value"] > before)
        assert after["value"] == before + 30
        rows.put(store, "alerts", rows.alert(tenant, "live-alert"))
        found = await events.wait("alerts", lambda one: bool(one["alerts"]))
        assert found["alerts"][0]["alert_id"] == "live-alert"


async def test_each_metric_of_the_first_round_equals_the_independent_computation(
    site: Site, tenant: str, insert: Callable[[str, list[Any]], None]
) -> None:
    """To the last digit, over the metric's own window up to now, with repeated events."""
    world = World(23, days=9)
    events = world.events(600)
    insert(tenant, events + world.rng.sample(events, 100))
    oracle, metrics, valued = Oracle(events, known=int(NOW * 1000)), shipped_dictionary(), set()
    async with stream(site, tenant) as messages:
        wanted = (await messages.wait("hello"))["metrics"]
        for _ in wanted:
            told = await messages.wait("metric")
            metric = metrics.find(told["metric"])
            assert metric is not None
            start, end = (milliseconds(told[name]) for name in ("start", "end"))
            assert (end, end - start) == (int(NOW * 1000), metric.window_seconds * 1000)
            check(told, oracle, metric, Scope(start, end))
            valued |= {metric.id} if told["value"] else set()
    assert len(wanted) >= 15 and valued == set(wanted), "a test over nothing proves nothing"


async def test_nothing_new_is_not_sent_again(site: Site, tenant: str) -> None:
    """An idle tenant's stream carries heartbeats only."""
    async with stream(site, tenant) as events:
        for _ in range(15):
            await events.wait("metric")
        await events.wait("comment")
        count = len(events.seen)
        await events.wait("comment")
        assert len(events.seen) == count


async def test_subscribers_share_one_poller_and_latecomers_get_the_newest(site: Site, tenant: str) -> None:
    hub = site.app.state.live
    who = Caller("key", tenant, Role.VIEWER, site.app.state.context.packs["marketing"])
    async with stream(site, tenant) as first:
        for _ in range(15):
            await first.wait("metric")
        late = Events(hub.subscribe(who))
        got = [(await late.next())[0] for _ in range(19)]
        assert got[0] == "hello" and got.count("metric") == 15
        assert len(hub._channels) == 1 and hub.subscribers == 2


async def test_places_are_bounded(site: Site, tenant: str) -> None:
    """The fourth stream of three is refused, clearly and with Retry-After."""
    async with stream(site, tenant), site.client(tenant) as client:
        who = Caller("key", tenant, Role.VIEWER, site.app.state.context.packs["marketing"])
        for _ in range(2):
            site.app.state.live.subscribe(who)
        with pytest.raises(Problem):
            site.app.state.live.subscribe(who)
        answer = await client.get(f"{ROOT}/live")
        assert answer.status_code == 503 and answer.headers["retry-after"] == "2"


async def test_a_subscriber_that_cannot_keep_up_is_cut_off(site: Site, tenant: str) -> None:
    """Its stream ends; memory stays bounded and the others are not held up."""
    async with stream(site, tenant) as slow:
        await slow.wait("hello")
        channel = next(iter(site.app.state.live._channels.values()))
        for n in range(200):
            channel.offer("status", "status", {"n": n})
        with pytest.raises(StopAsyncIteration):
            while True:
                await slow.next()
        assert site.app.state.live.subscribers == 0


async def test_the_stream_tells_when_the_warehouse_goes_away_and_comes_back(
    site: Site, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.reader import WarehouseAway

    async with stream(site, tenant) as events:
        assert (await events.wait("status"))["status"] == "ok"
        inner = site.app.state.context.reader._inner

        class Away:
            async def rows(self, sql: str, params: Any) -> Any:
                raise WarehouseAway("ClickHouse does not answer")

        monkeypatch.setattr(site.app.state.context.reader, "_inner", Away())
        assert await events.wait("status") == {"status": "degraded", "detail": "ClickHouse does not answer"}
        monkeypatch.setattr(site.app.state.context.reader, "_inner", inner)
        assert (await events.wait("status"))["status"] == "ok"


async def test_poller_ends_with_its_last_subscriber(site: Site, tenant: str) -> None:
    async with stream(site, tenant) as events:
        await events.wait("status")
        await events._stream.aclose()  # type: ignore[attr-defined]
        for _ in range(100):
            if not site.app.state.live._channels:
                break
            await asyncio.sleep(0.05)
        assert not site.app.state.live._channels
