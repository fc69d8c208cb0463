"""Self-metrics of the API process, and the middleware that keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.reader import Params, QueryFailed, Reader, Row, TooMuch, WarehouseAway
from schemas.clock import Clock

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Telemetry:
    """Counters in a registry of their own, so that several apps can live in one process."""

    def __init__(self, live_streams: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "headrace_api_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "headrace_api_request_seconds",
            "Time to the answer's head.",
            ["route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.reads = Histogram(
            "headrace_api_read_seconds", "Time of one read.", buckets=_BUCKETS, registry=self.registry
        )
        self.read_errors = Counter("headrace_api_read_errors", "Reads that failed.", ["kind"], registry=self.registry)
        streams = Gauge("headrace_api_live_streams", "Live streams open now.", registry=self.registry)
        streams.set_function(live_streams)

    def render(self) -> bytes:
        """The registry in Prometheus' text format."""
        return generate_latest(self.registry)


class MeasuredReader:
    """A reader that counts and times its reads."""

    def __init__(self, inner: Reader, clock: Clock) -> None:
        self._inner, self._clock = inner, clock
        self.telemetry: Telemetry | None = None

    async def rows(self, sql: str, params: Params) -> list[Row]:
        """See `Reader`."""
        began = self._clock.monotonic()
        try:
            return await self._inner.rows(sql, params)
        except (WarehouseAway, TooMuch, QueryFailed) as error:
            if self.telemetry:
                self.telemetry.read_errors.labels(type(error).__name__).inc()
            raise
        finally:
            if self.telemetry:
                self.telemetry.reads.observe(max(0.0, self._clock.monotonic() - began))

    async def ping(self) -> bool:
        """See `Reader`."""
        return await self._inner.ping()


class Measured:
    """ASGI middleware: counts requests by route template, so that ids in paths do not become labels."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, clock: Clock) -> None:
        self._app, self._telemetry, self._clock = app, telemetry, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock.monotonic()

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = _template(scope)
                self._telemetry.requests.labels(route, _method(scope), str(message["status"])).inc()
                self._telemetry.latency.labels(route).observe(max(0.0, self._clock.monotonic() - began))
            await send(message)

        await self._app(scope, receive, watched)


def _template(scope: Mapping[str, Any]) -> str:
    """The full route template; a route knows itself without the prefix under which it is served."""
    own = str(getattr(scope.get("route"), "path", ""))
    path, filled = str(scope["path"]), own
    for name, value in scope.get("path_params", {}).items():
        filled = filled.replace("{" + name + "}", str(value))
    return path[: len(path) - len(filled)] + own if own and path.endswith(filled) else own or "unmatched"


def _method(scope: Mapping[str, Any]) -> str:
    method = str(scope.get("method"))
    return method if method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE") else "OTHER"
