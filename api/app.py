"""Puts the API together. Reads ClickHouse through `reader`, writes only events through `publish`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import pages, problems
from api.context import Context, DeadLetterDesk, Publish
from api.doorway import Doorway
from api.expected import ExpectedReader
from api.kpis import check_facts
from api.ledger import LedgerReader
from api.live import VERSION, Hub
from api.metrics import Limits, check_measures
from api.reader import Reader
from api.routing import ROOT, all_routers
from api.segments import SegmentReader
from api.settings import ApiSettings
from api.telemetry import Measured, MeasuredMetrics, MeasuredReader, Telemetry
from schemas.attribution import shipped_attribution
from schemas.clock import Clock
from schemas.funnels import Funnels, check_funnels, shipped_funnels
from schemas.health import shipped_health
from schemas.heatmap import shipped_heatmap
from schemas.keys import KeyStore
from schemas.kpis import shipped_kpis
from schemas.metrics import Dictionary, shipped_dictionary
from schemas.segments import shipped_clusters, shipped_patterns
from schemas.taxonomy.pack import Pack


def create_app(
    settings: ApiSettings,
    *,
    reader: Reader,
    keys: KeyStore,
    publish: Publish,
    packs: Mapping[str, Pack],
    clock: Clock,
    dictionary: Dictionary | None = None,
    funnels: Funnels | None = None,
    dead_letters: DeadLetterDesk | None = None,
) -> FastAPI:
    """The ASGI application. `app.state.live.close()` ends the live streams; shutdown does it too.

    The caller owns `reader` and closes it. Raises ConfigError when what is declared cannot be computed.
    """
    dictionary = dictionary or shipped_dictionary()
    check_measures(dictionary)
    check_facts(shipped_kpis())
    shipped_heatmap()
    shipped_health()
    shipped_attribution()
    funnels = funnels or shipped_funnels()
    check_funnels(funnels, packs)
    measured = MeasuredReader(reader, clock)
    ledger = LedgerReader(measured, clock)
    expected = ExpectedReader(measured, clock)
    metrics = MeasuredMetrics(measured, ledger, expected, Limits(settings.max_buckets, settings.max_groups), clock)
    segments = SegmentReader(measured, ledger, shipped_patterns(), shipped_clusters())
    ctx = Context(
        settings, measured, keys, publish, packs, clock, dictionary, ledger, metrics, funnels, segments, dead_letters
    )
    hub = Hub(ctx)
    metrics.telemetry = measured.telemetry = telemetry = Telemetry(lambda: hub.subscribers)
    telemetry.start_time.set(clock.now())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await hub.close()

    app = FastAPI(title="Headrace", version=VERSION, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.context, app.state.live, app.state.telemetry = ctx, hub, telemetry
    problems.install(app)
    for router, prefix in all_routers():
        app.include_router(router, prefix=prefix)
    pages.install(app, settings.static_dir)
    app.add_middleware(Measured, telemetry=telemetry, clock=clock)
    app.add_middleware(Doorway, live_path=f"{ROOT}/live")
    return app
