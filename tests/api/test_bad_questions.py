"""Every parameter of every endpoint, asked wrongly: a problem that names it, before anything is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from api.app import create_app
from api.reader import Params, Row
from api.settings import ApiSettings
from schemas.clock import ManualClock
from schemas.keys import KeyStore
from schemas.taxonomy import shipped_packs
from tests.api.conftest import Site
from tests.api.conftest import site as make_site
from tests.api.world import NOW

REQUIRED: Final = {"/api/v1/analytics/query": {"metrics": "ctr"}}
PLACES: Final = {"metric_id": "ctr", "segment_id": "SP-001", "user_id": "u", "alert_id": "a", "letter_id": "l"}
MOMENTS: Final = ("start", "end", "startDate", "endDate", "at")
ANY_AGE: Final = ("/api/v1/analytics/dead-letters",)
"""Lists that may go back as far as anybody likes: a page of them is bounded."""
PAIRS: Final = (("start", "end"), ("startDate", "endDate"))


class Untouched:
    """A warehouse that nobody may ask."""

    async def rows(self, sql: str, params: Params) -> list[Row]:
        raise AssertionError(f"asked of the warehouse: {sql[:200]}")

    async def ping(self) -> bool:
        return True


async def _nothing(tenant: str, events: Any) -> None:
    raise AssertionError


def schema() -> dict[str, Any]:
    clock = ManualClock(NOW)
    app = create_app(
        ApiSettings(),
        reader=Untouched(),
        keys=KeyStore(Path("/nonexistent/keys.json"), clock),
        publish=_nothing,
        packs=shipped_packs(),
        clock=clock,
    )
    return app.openapi()


def cases() -> Iterator[Any]:
    """A path, what is asked of it, and the parameter that must be named."""
    told = schema()
    for path, methods in told["paths"].items():
        if "get" not in methods or path in ("/metrics", "/health/live", "/health/ready"):
            continue
        given = {p["name"]: p["schema"] for p in methods["get"].get("parameters", []) if p["in"] == "query"}
        yield _case(path, {"nonsense": "1"}, "nonsense")
        for name, one in given.items():
            for wrong in _wrong(told, name, one):
                yield _case(path, {name: wrong}, name)
        for start, end in PAIRS:
            if {start, end} <= given.keys():
                yield _case(path, {start: "2026-11-20", end: "2026-11-19"}, start)
                if path not in ANY_AGE:
                    yield _case(path, {start: "1990-01-01", end: "2026-11-19"}, start)


def _case(path: str, asked: Mapping[str, Any], field: str) -> Any:
    shown = ", ".join(f"{name}={str(value)[:24]}" for name, value in asked.items())
    return pytest.param(path.format(**PLACES), {**REQUIRED.get(path, {}), **asked}, field, id=f"{path} {shown}")


def _wrong(told: Mapping[str, Any], name: str, one: Mapping[str, Any]) -> Iterator[Any]:
    """Values that a parameter must not have."""
    for found in one.get("anyOf", [one]):
        kind = told["components"]["schemas"][found["$ref"].rpartition("/")[2]] if "$ref" in found else found
        if "enum" in kind:
            yield "nonsense"
            yield kind["enum"][0] + "x"
        if "maxLength" in kind:
            yield "x" * (kind["maxLength"] + 1)
        if kind.get("type") in ("integer", "number"):
            yield "x"
            yield "nan"
            if "maximum" in kind:
                yield str(kind["maximum"] + 1)
            if "minimum" in kind:
                yield str(kind["minimum"] - 1)
        if "maxItems" in kind:
            yield ["x"] * (kind["maxItems"] + 1)
    if name in MOMENTS:
        yield from ("soon", "2026-13-01", "-5y", "99999-01-01", "")


@pytest.fixture(scope="module")
def asking(packs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> httpx.AsyncClient:
    """A client of an app that has nothing to read."""
    clock, folder = ManualClock(NOW), tmp_path_factory.mktemp("bad-questions")
    site: Site = make_site.__wrapped__(ApiSettings(cache_seconds=0), Untouched(), packs, clock, folder)
    return site.client("bad-questions")


@pytest.mark.parametrize(("path", "asked", "field"), list(cases()))
async def test_a_problem_names_the_parameter(
    asking: httpx.AsyncClient, path: str, asked: dict[str, Any], field: str
) -> None:
    answer = await asking.get(path, params=asked)
    assert answer.status_code == 422, (answer.status_code, answer.text[:300])
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422 and problem["detail"] and problem["title"]
    assert [one["field"] for one in problem["errors"]] == [field]
    assert all(one["message"] for one in problem["errors"]) and len(answer.text) < 5_000


async def test_a_choice_lists_what_there_is(asking: httpx.AsyncClient) -> None:
    asked = {
        "/metrics/ctr": ("group_by", "campaign_id"),
        "/heatmap": ("metric", "activity"),
        "/cohorts": ("cohort_by", "signup_month"),
        "/attribution": ("by", "channel"),
        "/attribution?": ("model", "linear"),
        "/attribution??": ("touch", "click"),
        "/funnel": ("steps", "purchase"),
        "/funnel?": ("funnel", "campaign_to_purchase"),
        "/windows": ("window", "1h"),
    }
    for path, (field, choice) in asked.items():
        wrong = "nonsense,purchase" if field == "steps" else "nonsense"
        answer = await asking.get("/api/v1/analytics" + path.rstrip("?"), params={field: wrong})
        assert answer.status_code == 422, (path, answer.text[:300])
        (error,) = answer.json()["errors"]
        assert error["field"] == field and choice in error["allowed"], (path, error)
    unknown = await asking.get("/api/v1/analytics/metrics/ctrr")
    assert unknown.status_code == 404 and "ctr" in unknown.json()["errors"][0]["allowed"]
