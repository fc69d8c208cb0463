"""Asking the app, with what must hold for every answer."""

from __future__ import annotations

from typing import Any

from api.routing import ROOT
from tests.api.conftest import Site


async def get(site: Site, tenant: str, path: str, **params: Any) -> Any:
    async with site.client(tenant) as client:
        answer = await client.get(path if path.startswith("/u") else ROOT + path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(site: Site, tenant: str, path: str, params: dict[str, str]) -> Any:
    async with site.client(tenant) as client:
        answer = await client.get(ROOT + path, params=params)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422 and problem["detail"]
    return problem["errors"][0]
