"""Answers that are given again: to whom, for how long, and with which validators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from api.cache import LONGEST_SECONDS, AnswerCache
from api.reader import ClickHouseReader
from api.routing import ROOT
from api.settings import ApiSettings
from schemas.clock import ManualClock
from schemas.keys import KeyStore, Kind, Role, create_key, revoke_key
from schemas.taxonomy import Pack
from tests.api.conftest import Site
from tests.api.conftest import site as make_site
from tests.api.world import NOW, Event, World

CTR = f"{ROOT}/metrics/ctr"
RANGE = {"start": "2026-11-01", "end": "2026-11-21"}


class Counting:
    """An app that says how often it was asked; may wait, fail or refuse."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.status = 200
        self.fail = False
        self.age = 1.0
        self.padding = ""
        self.takes: Callable[[], None] = lambda: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        self.takes()
        await self.gate.wait()
        if self.fail:
            raise RuntimeError("broken")
        asked = self.asked if self.status == 200 and not self.padding else 0
        body = {"asked": asked, "age_seconds": self.age, "padding": self.padding}
        response: Response = JSONResponse(body, self.status)
        await response(scope, receive, send)


class Setting:
    """The cache over such an app, and clients of two tenants."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.app = ManualClock(NOW), Counting()
        self.keys = folder / "keys.json"
        made = {
            name: create_key(
                self.keys, self.clock, kind=Kind.SECRET, tenant=tenant, pack="marketing", role=role
            )
            for name, tenant, role in (
                ("one", "a", Role.VIEWER), ("same", "a", Role.VIEWER), ("admin", "a", Role.ADMIN),
                ("other", "b", Role.VIEWER),
            )
        }  # fmt: skip
        self.secrets = {name: secret for name, (_, secret) in made.items()}
        self.ids = {name: key.id for name, (key, _) in made.items()}
        self.cache = AnswerCache(self.app, KeyStore(self.keys, self.clock), self.clock, ROOT, 1.0)

    async def get(self, path: str = CTR, who: str = "one", **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(self.cache)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            secret = self.secrets.get(who, who)
            return await client.get(path, headers={"Authorization": f"Bearer {secret}", **headers})


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


async def test_an_answer_is_given_again_for_a_second(setting: Setting) -> None:
    first = await setting.get()
    setting.clock.advance(0.9)
    assert (await setting.get()).content == first.content and setting.app.asked == 1
    setting.clock.advance(0.2)
    assert (await setting.get()).json()["asked"] == 2
    assert first.headers["cache-control"] == "private, max-age=1" and "authorization" in first.headers["vary"].lower()


async def test_its_age_counts_from_before_it_was_computed(setting: Setting) -> None:
    """What took long may be as old as it took; it must not be older by a second when it is given again."""
    setting.app.gate.clear()
    first = asyncio.create_task(setting.get())
    await asyncio.sleep(0.01)
    setting.clock.advance(1.1)
    setting.app.gate.set()
    await first
    assert (await setting.get()).json()["asked"] == 2


async def test_who_asks_the_same_meanwhile_waits_for_it(setting: Setting) -> None:
    setting.app.gate.clear()
    asking = [asyncio.create_task(setting.get()) for _ in range(20)]
    await asyncio.sleep(0.05)
    setting.app.gate.set()
    assert {(await one).json()["asked"] for one in asking} == {1} and setting.app.asked == 1


@pytest.mark.parametrize("fault", ["raises", "refuses"])
async def test_a_failure_is_not_kept(setting: Setting, fault: str) -> None:
    setting.app.fail, setting.app.status = fault == "raises", 503 if fault == "refuses" else 200
    if fault == "raises":
        with pytest.raises(RuntimeError):
            await setting.get()
    else:
        answer = await setting.get()
        assert answer.status_code == 503 and "etag" not in answer.headers and "cache-control" not in answer.headers
    setting.app.fail, setting.app.status = False, 200
    assert (await setting.get()).json()["asked"] == 2


async def test_only_keys_of_one_tenant_and_role_share(setting: Setting) -> None:
    """And only the same address; what has no valid key goes to the app, which refuses it."""
    await setting.get()
    assert (await setting.get(who="same")).json()["asked"] == 1
    assert (await setting.get(who="other")).json()["asked"] == 2
    assert (await setting.get(who="admin")).json()["asked"] == 3
    assert (await setting.get(f"{CTR}?interval=day")).json()["asked"] == 4
    assert (await setting.get(who="nobody")).json()["asked"] == 5
    assert (await setting.get(who="nobody")).json()["asked"] == 6


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        (f"{ROOT}/query?metrics=ctr", True),
        (f"{ROOT}/kpis", True),
        (f"{ROOT}/metrics", True),
        ("/metrics/ctr", True),
        ("/metrics", False),
        (f"{ROOT}/alerts", False),
        (f"{ROOT}/pipeline", False),
        (f"{ROOT}/segments/loyal/members", False),
        (f"{ROOT}/customer-health", False),
        (f"{ROOT}/churn-risk", False),
        ("/kpis", False),
    ],
)
async def test_what_is_kept(setting: Setting, path: str, kept: bool) -> None:
    """Nothing that names users, acts, or tells of the pipeline itself."""
    await setting.get(path)
    await setting.get(path)
    assert setting.app.asked == (1 if kept else 2)


@pytest.mark.parametrize(
    ("path", "took", "kept"),
    [
        (f"{ROOT}/funnel", 3.0, 30.0),
        (f"{ROOT}/funnel", 100.0, LONGEST_SECONDS),
        (f"{ROOT}/attribution", 2.0, 20.0),
    ],
)
async def test_what_took_long_is_kept_longer(setting: Setting, path: str, took: float, kept: float) -> None:
    """And then given once more as long, while a new one is computed for those who come later."""
    setting.app.takes = lambda: setting.clock.advance(took)
    first = (await setting.get(path)).json()["asked"]
    setting.app.takes = lambda: None
    setting.clock.advance(kept - 0.1)
    assert (await setting.get(path)).json()["asked"] == first and setting.app.asked == 1
    setting.clock.advance(0.2)
    setting.app.gate.clear()
    for _ in range(3):
        assert (await setting.get(path)).json()["asked"] == first
    await asyncio.sleep(0)
    assert setting.app.asked == 2, "one computes, and nobody waits for it"
    setting.app.gate.set()
    await asyncio.gather(*setting.cache._renewing.values())
    assert (await setting.get(path)).json()["asked"] == 2 and setting.app.asked == 2 and not setting.cache._renewing


@pytest.mark.parametrize(("path", "took"), [(f"{ROOT}/funnel", 0.5), (CTR, 3.0)])
async def test_other_answers_are_new_each_second(setting: Setting, path: str, took: float) -> None:
    """What is quick, and a metric of a live page, however long it takes; its age counts from before it was computed."""
    setting.app.takes = lambda: setting.clock.advance(took)
    await setting.get(path)
    setting.clock.advance(max(0.0, 1.0 - took))
    await setting.get(path)
    assert setting.app.asked == 2


async def test_an_old_answer_is_given_no_longer_than_twice_and_not_after_a_failure(setting: Setting) -> None:
    path = f"{ROOT}/funnel"
    setting.app.takes = lambda: setting.clock.advance(2.0)
    await setting.get(path)
    setting.clock.advance(40.1)
    await setting.get(path)
    assert setting.app.asked == 2 and not setting.cache._renewing, "it was waited for"
    setting.clock.advance(20.1)
    setting.app.fail = True
    assert (await setting.get(path)).json()["asked"] == 2
    await asyncio.gather(*setting.cache._renewing.values())
    setting.app.fail = False
    assert (await setting.get(path)).json()["asked"] == 4


async def test_a_revoked_key_gets_nothing(setting: Setting) -> None:
    await setting.get()
    revoke_key(setting.keys, setting.clock, setting.ids["one"])
    setting.clock.advance(1.5)
    setting.cache._seconds = 100
    await setting.get()
    assert setting.app.asked == 2


async def test_a_known_answer_is_told_by_304(setting: Setting) -> None:
    """That the data is older by a moment is no news."""
    setting.app.padding = "x"
    first = await setting.get()
    again = await setting.get(**{"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == first.headers["etag"]
    setting.clock.advance(2)
    setting.app.age = 3.25
    assert (await setting.get(**{"If-None-Match": f'"z", {first.headers["etag"]}'})).status_code == 304
    setting.clock.advance(2)
    setting.app.padding = "y"
    other = await setting.get(**{"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200 and other.json()["padding"] == "y"


async def test_answers_are_bounded(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.cache.MOST", 10)
    for n in range(30):
        await setting.get(f"{CTR}?limit={n + 1}")
    assert len(setting.cache._answers) == 10
    monkeypatch.setattr("api.cache.MOST_BYTES", 5_000)
    setting.app.padding = "x" * 2_000
    for n in range(10):
        await setting.get(f"{CTR}?limit={n + 100}")
    assert setting.cache._bytes == sum(len(one.result().body) for one in setting.cache._answers.values()) <= 5_000


async def test_the_app_keeps_answers(
    reader: ClickHouseReader,
    packs: dict[str, Pack],
    tmp_path: Path,
    tenant: str,
    insert: Callable[[str, list[Event]], None],
) -> None:
    """Whole: the second answer is the first, counted under its own route; a second later it is new."""
    clock = ManualClock(NOW)
    site: Site = make_site.__wrapped__(ApiSettings(static_dir=tmp_path), reader, packs, clock, tmp_path)
    insert(tenant, World(70).events(100))
    async with site.client(tenant) as client:
        first = await client.get(CTR, params=RANGE)
        insert(tenant, World(71).events(100))
        again = await client.get(CTR, params=RANGE)
        assert again.content == first.content and again.headers["etag"] == first.headers["etag"]
        clock.advance(1.1)
        later: Any = await client.get(CTR, params=RANGE)
        assert later.json()["numerator"] > first.json()["numerator"]
        page = (await client.get("/metrics")).text
    assert f'route="{ROOT}/metrics/{{metric_id}}"' in page and 'route="unmatched"' not in page
