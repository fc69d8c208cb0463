"""The collector's self-metrics, in a registry of its own. Labels by tenant are bounded: the rest is `other`."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_PREFIX = "headrace_collector"
_LATENCY = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_EVENTS = (1, 5, 10, 25, 50, 100, 250, 500, 1_000)
_BYTES = (1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)


class CollectorMetrics:
    """Counters and histograms of one process; `max_tenants` tenants get labels of their own."""

    def __init__(self, max_tenants: int = 100) -> None:
        self.registry = CollectorRegistry()
        self._max_tenants = max_tenants
        self._tenants: set[str] = set()
        r = self.registry
        self._received = Counter(f"{_PREFIX}_events_received", "Events received and stored.", ["tenant"], registry=r)
        self._accepted = Counter(f"{_PREFIX}_events_accepted", "Events accepted.", ["tenant"], registry=r)
        self._rejected = Counter(f"{_PREFIX}_events_rejected", "Events rejected.", ["tenant", "reason"], registry=r)
        self._refused = Counter(f"{_PREFIX}_requests_refused", "Requests refused.", ["status", "code"], registry=r)
        self._requests = Counter(f"{_PREFIX}_requests", "Requests answered.", ["route", "status"], registry=r)
        self.start_time = Gauge(f"{_PREFIX}_start_time_seconds", "When this process began, Unix seconds.", registry=r)
        self.in_flight_bytes = Gauge(f"{_PREFIX}_in_flight_bytes", "Body bytes being worked on.", registry=r)
        self.pending_events = Gauge(f"{_PREFIX}_pending_events", "Events waiting for Kafka.", registry=r)
        self._produce = Histogram(
            f"{_PREFIX}_produce_seconds", "From produce to acknowledgement.", buckets=_LATENCY, registry=r
        )
        self._failed = Counter(f"{_PREFIX}_chunks_failed", "Chunks that Kafka did not take.", registry=r)
        self._chunk_events = Histogram(f"{_PREFIX}_chunk_events", "Events in a chunk.", buckets=_EVENTS, registry=r)
        self._chunk_bytes = Histogram(f"{_PREFIX}_chunk_bytes", "Bytes of a chunk.", buckets=_BYTES, registry=r)

        self._spooled = Counter(f"{_PREFIX}_spool_chunks_written", "Chunks written to the spool.", registry=r)
        self._drained = Counter(f"{_PREFIX}_spool_chunks_drained", "Chunks of the spool that Kafka took.", registry=r)
        self.spool_chunks = Gauge(f"{_PREFIX}_spool_chunks", "Chunks that wait in the spool for Kafka.", registry=r)
        self.spool_bytes = Gauge(f"{_PREFIX}_spool_bytes", "Bytes of the spool on disk.", registry=r)
        self.spool_age = Gauge(
            f"{_PREFIX}_spool_oldest_seconds", "How long the oldest of them has waited, at most.", registry=r
        )
        self.kafka_away = Gauge(f"{_PREFIX}_kafka_away", "1 while Kafka takes no chunks, else 0.", registry=r)

    def verdicts(self, tenant: str, accepted: int, rejected: Mapping[str, int]) -> None:
        """Count the events of a request that is stored; `rejected` by reason."""
        label = self._label(tenant)
        self._received.labels(label).inc(accepted + sum(rejected.values()))
        self._accepted.labels(label).inc(accepted)
        for reason, n in rejected.items():
            self._rejected.labels(label, reason).inc(n)

    def request(self, route: str, status: int) -> None:
        """Count an answered request. `route`: one of few; a path that a client made up is none."""
        self._requests.labels(route, str(status)).inc()

    def refused(self, status: int, code: str) -> None:
        """Count a request that was refused as a whole."""
        self._refused.labels(str(status), code).inc()

    def chunk(self, events: int, size: int) -> None:
        """Count a chunk on its way; `size` in bytes before compression."""
        self._chunk_events.observe(events)
        self._chunk_bytes.observe(size)

    def produced(self, seconds: float) -> None:
        """Count an acknowledged chunk."""
        self._produce.observe(seconds)

    def failed(self) -> None:
        """Count a chunk that was not acknowledged."""
        self._failed.inc()

    def spooled(self) -> None:
        """Count a chunk that is in the spool."""
        self._spooled.inc()

    def drained(self) -> None:
        """Count a chunk of the spool that Kafka has acknowledged."""
        self._drained.inc()

    def text(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self.registry)

    def _label(self, tenant: str) -> str:
        if tenant in self._tenants:
            return tenant
        if len(self._tenants) >= self._max_tenants:
            return "other"
        self._tenants.add(tenant)
        return tenant
