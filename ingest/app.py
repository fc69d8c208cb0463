"""The collector as an ASGI application: which path leads where, and what happens at start and end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from ingest.asgi import Receive, Request, Response, Route, Router, Send, json_response
from ingest.collector import Collector
from ingest.health import Health
from ingest.path import receive
from schemas.clock import Clock

App = Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]
_log = logging.getLogger(__name__)

UNMATCHED: Final = "unmatched"
"""The route of requests to paths that do not exist, in the self-metrics."""


class Native:
    """The collector's own endpoint; the protocols of other SDKs stand beside it as routes of their own."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def events(self, request: Request) -> Response:
        """200 with the verdicts once Kafka has the events; 422 with the same body when none was accepted."""
        verdicts = await receive(request, self._collector)
        status = 200 if verdicts.accepted else 422
        return json_response(status, {"accepted": verdicts.accepted, "rejected": verdicts.rejected})


def create_app(collector: Collector, clock: Clock) -> App:
    """The ASGI application. Its lifespan ends with everything handed to Kafka."""
    native, health = Native(collector), Health(collector, clock)
    metrics = collector.gateway.metrics
    metrics.start_time.set(clock.now())

    def answered(request: Request, response: Response, code: str) -> None:
        metrics.request(request.path if request.path in paths else UNMATCHED, response.status)
        if code:
            metrics.refused(response.status, code)

    routes = (
        Route("POST", "/api/analytics/events", native.events),
        Route("GET", "/health/live", health.live),
        Route("GET", "/health/ready", health.ready),
        Route("GET", "/metrics", health.metrics),
    )
    paths = {route.path for route in routes}
    router = Router(routes, collector.patience, answered)

    async def app(scope: Mapping[str, Any], receive_message: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await router(scope, receive_message, send)
        elif scope["type"] == "lifespan":
            await _live(collector, receive_message, send)

    return app


async def _live(collector: Collector, receive_message: Receive, send: Send) -> None:
    await receive_message()
    collector.gateway.start()
    await send({"type": "lifespan.startup.complete"})
    await receive_message()
    try:
        await collector.gateway.close()
    except Exception:
        _log.exception("the last events could not be handed over in order")
    await send({"type": "lifespan.shutdown.complete"})
