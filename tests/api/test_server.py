"""The app under a real HTTP server: streaming, disconnects, and what ends up in the access log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn

from api.routing import ROOT
from deploy.embedded.process import free_port
from tests.api.conftest import Site


@contextlib.asynccontextmanager
async def served(site: Site) -> AsyncIterator[str]:
    port = free_port()
    config = uvicorn.Config(site.app, port=port, log_config=None, access_log=True, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
            await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        await site.app.state.live.close()
        server.should_exit = True
        await task


async def test_event_source_with_a_token_in_its_address(
    site: Site, tenant: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As a browser does it: the stream flows, ends when the browser leaves, and no log holds the key."""
    caplog.set_level(logging.INFO)
    async with site.client(tenant) as owner:
        secret = owner.headers["authorization"].removeprefix("Bearer ")
    async with served(site) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        async with client.stream("GET", f"{ROOT}/live", params={"access_token": secret}) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            names = []
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    names.append(line.removeprefix("event: "))
                if names.count("metric") == 15:
                    break
            assert names[0] == "hello" and site.app.state.live.subscribers == 1
        for _ in range(100):
            if site.app.state.live.subscribers == 0:
                break
            await asyncio.sleep(0.02)
        assert site.app.state.live.subscribers == 0
        assert (await client.get(f"{ROOT}/live")).status_code == 401
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")]
    assert any(f"{ROOT}/live" in line for line in logged), "the request itself is logged"
    assert not any(secret in line for line in logged)


async def test_closing_the_hub_ends_open_streams(site: Site, tenant: str) -> None:
    """A server that stops does not wait for browsers: every stream ends, new ones are refused."""
    async with site.client(tenant) as owner:
        headers = dict(owner.headers)
    async with served(site) as url, httpx.AsyncClient(base_url=url, timeout=20, headers=headers) as client:
        async with client.stream("GET", f"{ROOT}/live") as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == "event: hello"
            await site.app.state.live.close()
            async with asyncio.timeout(5):
                async for _ in lines:
                    pass
        assert (await client.get(f"{ROOT}/live")).status_code == 503
