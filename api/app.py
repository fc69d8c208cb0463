"""Puts the API together. Reads ClickHouse through `reader`, writes only events through `publish`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import pages, problems
from api.cache import AnswerCache
from api.context import Context, DeadLetterDesk, Publish
from api.doorway import Doorway
from api.expected import ExpectedReader
from api.kpis import check_facts
from api.ledger import LedgerReader
from api.live import VERSION, Hub
from api.metrics import Limits, check_measures
from api.reader import ClickHouseReader, Reader, Spent
from api.rollups.standing import CoverageReader
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
    slow: Reader | None = None,
) -> FastAPI:
    """The ASGI application. `app.state.live.close()` ends the live streams; shutdown does it too.

    `slow`: the reader for questions that may take long; else `reader`. The caller owns both and closes them. Raises
    ConfigError when what is declared cannot be computed.
    """
    dictionary, funnels = dictionary or shipped_dictionary(), funnels or shipped_funnels()
    _check_declared(dictionary, funnels, packs)
    slow = slow or reader
    measured, measured_slow = MeasuredReader(reader, clock), MeasuredReader(slow, clock)
    ledger = LedgerReader(measured, clock)
    expected = ExpectedReader(measured, clock)
    limits = Limits(settings.max_buckets, settings.max_groups)
    coverage = CoverageReader(measured, clock)
    metrics = MeasuredMetrics(measured, ledger, expected, limits, clock, coverage, settings.prices)
    segments = SegmentReader(measured, ledger, shipped_patterns(), shipped_clusters())
    read = (dictionary, ledger, metrics, funnels, segments, coverage, measured_slow)
    ctx = Context(settings, measured, keys, publish, packs, clock, *read, dead_letters=dead_letters)
    hub = Hub(ctx)
    telemetry = Telemetry(lambda: hub.subscribers, _spending(reader, slow))
    metrics.telemetry = measured.telemetry = measured_slow.telemetry = telemetry
    telemetry.start_time.set(clock.now())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await hub.close()

    app = FastAPI(title="Headrace", version=VERSION, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.context, app.state.live, app.state.telemetry = ctx, hub, telemetry
    _furnish(app, ctx, telemetry)
    return app


def _furnish(app: FastAPI, ctx: Context, telemetry: Telemetry) -> None:
    """Routes, pages and middleware; the last one is the outermost."""
    problems.install(app)
    for router, prefix in all_routers():
        app.include_router(router, prefix=prefix)
    pages.install(app, ctx.settings.static_dir)
    app.add_middleware(AnswerCache, keys=ctx.keys, clock=ctx.clock, root=ROOT, seconds=ctx.settings.cache_seconds)
    app.add_middleware(Measured, telemetry=telemetry, clock=ctx.clock)
    app.add_middleware(Doorway, live_path=f"{ROOT}/live")


def _check_declared(dictionary: Dictionary, funnels: Funnels, packs: Mapping[str, Pack]) -> None:
    """Raise ConfigError when something that is declared cannot be read or computed."""
    check_measures(dictionary)
    check_facts(shipped_kpis())
    check_funnels(funnels, packs)
    shipped_heatmap()
    shipped_health()
    shipped_attribution()


def _spending(*readers: Reader) -> Callable[[], Spent]:
    """What readers have taken of the warehouse so far."""
    counted = {id(one): one for one in readers if isinstance(one, ClickHouseReader)}.values()
    return lambda: Spent(*(sum(numbers) for numbers in zip(Spent(), *(one.spent for one in counted), strict=True)))
