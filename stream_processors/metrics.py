"""Self-metrics of a worker, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server


class WorkerMetrics:
    """Counters and gauges of one worker process in a registry of their own."""

    def __init__(self, role: str) -> None:
        self.registry = CollectorRegistry()
        self._records = Counter(
            "headrace_worker_records", "Kafka records acknowledged.", ["role", "topic"], registry=self.registry
        )
        self._handling = Histogram(
            "headrace_worker_handle_seconds", "Time to handle one take.", ["role", "topic"], registry=self.registry
        )
        self._events = Counter(
            "headrace_worker_events", "Events by outcome.", ["role", "outcome"], registry=self.registry
        )
        self._state = Gauge("headrace_worker_state", "Things kept in memory.", ["role", "kind"], registry=self.registry)
        self._retries = Counter(
            "headrace_worker_retries", "Passing faults that were tried again.", ["role", "what"], registry=self.registry
        )
        self._conflicts = Counter(
            "headrace_conflicts", "Ids that came again for another event.", ["kind"], registry=self.registry
        )
        self._role = role

    def serve(self, port: int, host: str = "127.0.0.1") -> None:
        """Serve `/metrics`; port 0 is off."""
        if port:
            start_http_server(port, addr=host, registry=self.registry)

    def handled(self, topic: str, records: int, seconds: float) -> None:
        """A take was handled."""
        self._handling.labels(self._role, topic).observe(seconds)

    def acknowledged(self, topic: str, records: int) -> None:
        """Records were stored and acknowledged."""
        self._records.labels(self._role, topic).inc(records)

    def events(self, outcome: str, n: int) -> None:
        """Events met an outcome: stored, duplicate, late, rejected, poison."""
        if n:
            self._events.labels(self._role, outcome).inc(n)

    def state(self, sizes: dict[str, int]) -> None:
        """Sizes of what is kept in memory."""
        for kind, size in sizes.items():
            self._state.labels(self._role, kind).set(size)

    def conflict(self, kind: str) -> None:
        """An id came again for another event; `kind`: what is other."""
        self._conflicts.labels(kind).inc()

    def retried(self, what: str) -> None:
        """A passing fault was met."""
        self._retries.labels(self._role, what).inc()
