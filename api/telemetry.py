"""Self-metrics of the API process, and the middleware that keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.comparison import Against
from api.expected import ExpectedReader
from api.ledger import LedgerReader
from api.metrics import Limits, MetricReader
from api.reader import Params, QueryFailed, Reader, Row, Spent, TooMuch, WarehouseAway
from api.rollups.standing import CoverageReader
from api.settings import Prices
from api.slices import Slice
from schemas.clock import Clock
from schemas.metrics import Metric
from schemas.taxonomy.pack import Pack

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW_BUCKETS: Final = (*_BUCKETS, 20, 30, 60)
_GOOD_SECONDS: Final = 1.0
OPERATIONAL: Final = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Routes that probes ask, and nobody else."""
_SLOT_SECONDS: Final = 10
_SLOTS: Final = 6


class Telemetry:
    """Counters in a registry of their own, so that several apps can live in one process."""

    def __init__(self, live_streams: Callable[[], int], spent: Callable[[], Spent] = Spent) -> None:
        self._spent, self._told = spent, Spent()
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
        self.calls = Counter(
            "headrace_api_calls",
            "Calls answered, probes left out: good (2xx within a second), slow, failed (5xx), refused (4xx).",
            ["outcome"],
            registry=self.registry,
        )
        self._queries = Counter(
            "headrace_api_warehouse_queries", "Queries that the warehouse answered.", registry=self.registry
        )
        self._seconds = Counter("headrace_api_warehouse_seconds", "Time that it took for them.", registry=self.registry)
        self._bytes = Counter("headrace_api_warehouse_bytes", "Bytes that it read for them.", registry=self.registry)
        self.start_time = Gauge(
            "headrace_api_start_time_seconds", "When this process began, Unix seconds.", registry=self.registry
        )
        self._calculations = Histogram(
            "headrace_api_metric_seconds",
            "Time of one calculation of a metric, failed ones too.",
            ["metric"],
            buckets=_SLOW_BUCKETS,
            registry=self.registry,
        )
        self._slowest_gauge = Gauge(
            "headrace_api_metric_slowest_seconds",
            "Slowest calculation of a metric that ended within the last minute.",
            ["metric"],
            registry=self.registry,
        )
        self._slowest: dict[str, Slowest] = {}
        streams = Gauge("headrace_api_live_streams", "Live streams open now.", registry=self.registry)
        streams.set_function(live_streams)

    def calculated(self, metric: str, seconds: float, now: float) -> None:
        """A calculation of a metric ended at `now` (seconds that only grow), with an answer or an error."""
        self._calculations.labels(metric).observe(seconds)
        self._slowest.setdefault(metric, Slowest()).add(seconds, now)

    def refresh(self, now: float) -> None:
        """Bring what depends on the time up to date. `now`: as in `calculated`."""
        for metric, slowest in self._slowest.items():
            self._slowest_gauge.labels(metric).set(slowest.at(now))

    def render(self) -> bytes:
        """The registry in Prometheus' text format."""
        now, told = self._spent(), self._told
        self._queries.inc(now.queries - told.queries)
        self._seconds.inc(now.seconds - told.seconds)
        self._bytes.inc(now.bytes - told.bytes)
        self._told = now
        return generate_latest(self.registry)


class Slowest:
    """The largest of the values of the last minute, by slots of ten seconds: a histogram cannot tell it."""

    def __init__(self) -> None:
        self._slots: dict[int, float] = {}

    def add(self, value: float, now: float) -> None:
        """Take a value at `now`, seconds."""
        slot = int(now) // _SLOT_SECONDS
        self._slots = {old: most for old, most in self._slots.items() if old > slot - _SLOTS}
        self._slots[slot] = max(value, self._slots.get(slot, 0.0))

    def at(self, now: float) -> float:
        """The largest of the 50 to 60 seconds before `now`; 0 without any."""
        first = int(now) // _SLOT_SECONDS - _SLOTS
        return max((most for slot, most in self._slots.items() if slot > first), default=0.0)


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


class MeasuredMetrics(MetricReader):
    """A metric reader that times its calculations, queueing for the warehouse included."""

    def __init__(
        self,
        reader: Reader,
        ledger: LedgerReader,
        expected: ExpectedReader,
        limits: Limits,
        clock: Clock,
        coverage: CoverageReader | None = None,
        prices: Prices | None = None,
    ) -> None:
        super().__init__(reader, ledger, expected, limits, coverage, prices)
        self._clock = clock
        self.telemetry: Telemetry | None = None

    async def answer(
        self,
        metric: Metric,
        asked: Slice,
        pack: Pack,
        limit: int = 100,
        known_as_of: int | None = None,
        against: Against | None = None,
    ) -> dict[str, Any]:
        """See `MetricReader`."""
        began = self._clock.monotonic()
        try:
            return await super().answer(metric, asked, pack, limit, known_as_of, against)
        finally:
            if self.telemetry:
                ended = self._clock.monotonic()
                self.telemetry.calculated(metric.id, max(0.0, ended - began), ended)


class Measured:
    """ASGI middleware: counts requests by route template, so that ids in paths do not become labels."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, clock: Clock) -> None:
        self._app, self._telemetry, self._clock = app, telemetry, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock.monotonic()
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._count(scope, message["status"], began)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            # What nobody foresaw is answered further out, where nobody counts.
            if not begun:
                self._count(scope, 500, began)
            raise

    def _count(self, scope: Scope, status: int, began: float) -> None:
        route, took = _template(scope), max(0.0, self._clock.monotonic() - began)
        self._telemetry.requests.labels(route, _method(scope), str(status)).inc()
        self._telemetry.latency.labels(route).observe(took)
        if route not in OPERATIONAL:
            self._telemetry.calls.labels(outcome(status, took)).inc()


def outcome(status: int, seconds: float) -> str:
    """How a call ended: `good`, `slow`, `failed`, or `refused`, which is a fault of the caller."""
    if status >= 500:
        return "failed"
    if status >= 400:
        return "refused"
    return "good" if seconds < _GOOD_SECONDS else "slow"


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
