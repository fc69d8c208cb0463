"""Pages, headers, health and self-metrics."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.reader import ClickHouseReader, WarehouseAway
from api.routing import ROOT
from api.settings import ApiSettings, ReaderSettings
from api.telemetry import Telemetry
from deploy.embedded.process import free_port
from schemas.clock import ManualClock
from schemas.errors import ConfigError
from schemas.keys import KeyStore
from schemas.taxonomy import Pack
from tests.api.conftest import Site

EXTERNAL = re.compile(r"(?:src|href)=[\"']?(?:https?:)?//", re.I)


async def test_docs_need_no_other_server(site: Site) -> None:
    async with site.client() as client:
        page = await client.get("/docs")
        openapi = (await client.get("/openapi.json")).json()
    assert page.status_code == 200 and not EXTERNAL.search(page.text) and "<script" not in page.text
    for path in openapi["paths"]:
        assert path.replace("{", "{") in page.text
    assert openapi["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


async def test_missing_dashboard_is_explained(site: Site) -> None:
    async with site.client() as client:
        page = await client.get("/")
    assert page.status_code == 200 and "have not been built" in page.text and "make setup" in page.text


async def test_dashboard_is_served_with_cache_and_security_headers(
    settings: ApiSettings, reader: ClickHouseReader, packs: dict[str, Pack], clock: ManualClock
) -> None:
    """Hashed files for ever, the page itself asked again; nothing outside the folder."""
    root = settings.static_dir
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text("<p>dashboard</p>")
    (root / "assets" / "app-PI73UOYY.js").write_text("1")
    (root.parent / "secret.txt").write_text("secret")

    async def publish(tenant: str, events: object) -> None:
        raise AssertionError

    keys = KeyStore(None, clock)
    app = create_app(settings, reader=reader, keys=keys, publish=publish, packs=packs, clock=clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        page = await client.get("/")
        assert page.text == "<p>dashboard</p>" and page.headers["cache-control"] == "no-cache"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        script = await client.get("/assets/app-PI73UOYY.js")
        assert "immutable" in script.headers["cache-control"]
        for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt", "/nothing"):
            assert (await client.get(path)).status_code == 404
        assert (await client.get(f"{ROOT}/nothing")).headers["content-type"] == "application/problem+json"


async def test_answers_with_data_are_not_cached(site: Site, tenant: str) -> None:
    async with site.client(tenant) as client:
        assert (await client.get(f"{ROOT}/alerts")).headers["cache-control"] == "no-store"


async def test_self_metrics_count_by_route_and_never_by_id(site: Site, tenant: str) -> None:
    async with site.client(tenant) as client:
        await client.get(f"{ROOT}/metrics/ctr")
        await client.get(f"{ROOT}/metrics/{tenant}")
        await client.get("/nowhere")
        text = (await client.get("/metrics")).text
    route = f'route="{ROOT}/metrics/{{metric_id}}"'
    assert f'headrace_api_requests_total{{method="GET",{route},status="200"}} 1.0' in text
    assert f'headrace_api_requests_total{{method="GET",{route},status="404"}} 1.0' in text
    assert 'route="unmatched",status="404"' in text and tenant not in text
    assert "headrace_api_read_seconds_count" in text and "headrace_api_live_streams 0.0" in text


async def test_self_metrics_time_the_calculations_of_metrics(site: Site, tenant: str) -> None:
    """Each metric of the dictionary, and nothing that a caller made up."""
    async with site.client(tenant) as client:
        await client.get(f"{ROOT}/metrics/ctr")
        await client.get(f"{ROOT}/metrics/made_up")
        text = (await client.get("/metrics")).text
    assert 'headrace_api_metric_seconds_count{metric="ctr"} 1.0' in text
    assert 'headrace_api_metric_slowest_seconds{metric="ctr"} 0.0' in text
    assert "headrace_api_start_time_seconds 1.79525" in text and "made_up" not in text


def test_the_slowest_calculation_is_known_for_a_minute() -> None:
    telemetry = Telemetry(lambda: 0)

    def shown(now: float) -> float | None:
        telemetry.refresh(now)
        return telemetry.registry.get_sample_value("headrace_api_metric_slowest_seconds", {"metric": "ctr"})

    for seconds, ended in ((0.5, 1000.0), (41.5, 1010.0), (2.0, 1030.0)):
        telemetry.calculated("ctr", seconds, ended)
    assert shown(1030) == shown(1059) == 41.5
    assert shown(1070) == 2.0
    assert shown(1100) == 0.0


async def test_an_error_that_nobody_foresaw_is_counted(
    site: Site, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is answered by the outermost layer of all, which does not count."""

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(site.app.state.context.metrics, "answer", broken)
    async with site.client(tenant) as owner:
        transport = httpx.ASGITransport(site.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=owner.headers) as client:
            assert (await client.get(f"{ROOT}/metrics/ctr")).status_code == 500
            text = (await client.get("/metrics")).text
    assert f'headrace_api_requests_total{{method="GET",route="{ROOT}/metrics/{{metric_id}}",status="500"}} 1.0' in text


async def test_token_in_the_address_works_for_the_stream_only_and_is_never_logged(
    site: Site, tenant: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The key moves into a header before the server can write the address to a log."""
    caplog.set_level(logging.DEBUG)
    async with site.client(tenant) as owner:
        secret = owner.headers["authorization"].removeprefix("Bearer ")
    caplog.clear()
    scope: dict[str, object] = {}

    async def spy(inner_scope: dict[str, object], receive: object, send: object) -> None:
        scope.update(inner_scope)
        inner_scope["path"], inner_scope["raw_path"] = f"{ROOT}/alerts", b"/"

    from api.doorway import Doorway

    asked = {
        "type": "http",
        "path": f"{ROOT}/live",
        "headers": [],
        "query_string": f"access_token={secret}&a=1".encode(),
    }
    await Doorway(spy, f"{ROOT}/live")(asked, None, None)  # type: ignore[arg-type]
    assert asked["query_string"] == b"a=1" and scope["headers"] == [(b"authorization", b"Bearer " + secret.encode())]
    async with site.client() as client:
        answer = await client.get(f"{ROOT}/alerts", params={"access_token": secret})
        assert answer.status_code == 401
        answer = await client.get(f"{ROOT}/live", params={"access_token": "wrong"})
        assert answer.status_code == 401 and "wrong" not in answer.text
    assert secret not in "".join(record.getMessage() for record in caplog.records if record.name != "httpx")


async def test_absent_warehouse_is_503_with_retry_after(
    settings: ApiSettings, packs: dict[str, Pack], clock: ManualClock, tmp_path: Path
) -> None:
    """Not a stack trace, not an endless wait: readiness says so too, liveness does not."""

    async def publish(tenant: str, events: object) -> None:
        raise AssertionError

    away = ClickHouseReader(ReaderSettings(url=f"http://127.0.0.1:{free_port()}", connect_timeout=1))
    app = create_app(
        settings, reader=away, keys=KeyStore(None, clock, dev_keys=True), publish=publish, packs=packs, clock=clock
    )
    try:
        headers = {"Authorization": "Bearer dev-secret-key"}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://api", headers=headers
        ) as client:
            for path in ("/metrics/ctr", "/pipeline", "/alerts", "/windows", "/churn-risk"):
                answer = await client.get(ROOT + path)
                assert answer.status_code == 503 and answer.headers["retry-after"] == "2"
                assert answer.json()["type"] == "/problems/warehouse-away"
            assert (await client.get("/health/ready")).status_code == 503
            assert (await client.get("/health/live")).status_code == 200
            assert 'kind="WarehouseAway"' in (await client.get("/metrics")).text
    finally:
        away.close()


async def test_waiting_reads_are_bounded(warehouse_url: str) -> None:
    """One running and one waiting; the third is refused at once."""
    import asyncio

    reader = ClickHouseReader(ReaderSettings(url=warehouse_url, threads=1, queue=1))
    try:
        slow = [asyncio.create_task(reader.rows("SELECT sleep(0.5)", {})) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(WarehouseAway, match="waiting"):
            await reader.rows("SELECT 1", {})
        await asyncio.gather(*slow)
        assert await reader.rows("SELECT 1", {}) == [(1,)]
    finally:
        reader.close()


@pytest.mark.parametrize("url", ["localhost:8123", "ftp://x", "http://host:port", "http://"])
def test_bad_warehouse_address_refuses_to_boot(url: str) -> None:
    with pytest.raises(ConfigError, match=r"reader\.url"):
        ClickHouseReader(ReaderSettings(url=url))
