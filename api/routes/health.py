"""Liveness, readiness and the self-metrics of this process."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from api.context import Ctx
from api.telemetry import Telemetry

router = APIRouter(tags=["health"])


@router.get("/health/live", summary="Is the process up?")
async def live() -> dict[str, str]:
    """Answers as long as the process does."""
    return {"status": "ok"}


@router.get("/health/ready", summary="Can it answer?")
async def ready(ctx: Ctx) -> JSONResponse:
    """503 while the warehouse does not answer."""
    up = await ctx.reader.ping()
    status = {"status": "ok" if up else "degraded", "checks": {"warehouse": "ok" if up else "does not answer"}}
    return JSONResponse(status, 200 if up else 503)


@router.get("/metrics", summary="Self-metrics for Prometheus", response_class=Response)
async def prometheus(request: Request, ctx: Ctx) -> Response:
    """Requests by route and status, their latency, reads, calculations of metrics, and open live streams."""
    telemetry: Telemetry = request.app.state.telemetry
    telemetry.refresh(ctx.clock.monotonic())
    return Response(telemetry.render(), media_type=CONTENT_TYPE_LATEST)
