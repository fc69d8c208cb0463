"""The child processes of `headrace up`: command, environment, log and health check of each."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.embedded import broker, warehouse
from deploy.settings import Settings, changed, child_environment
from deploy.supervise import Spec
from schemas import topics

CONSUMED: Final = {
    "events": (topics.EVENTS, topics.REJECTED, topics.LEDGER),
    "watch": (topics.ROLLUPS,),
}
"""Role of `headrace process` -> the topics that its consumer group reads."""


def group_of(settings: Settings, role: str) -> str:
    """The consumer group of a role."""
    return f"{settings.worker.group}-{role}"


@dataclass(frozen=True)
class Ports:
    """Loopback ports of one stack; `metrics` has one for each worker, then the watcher's."""

    broker: int
    warehouse: int
    collector: int
    api: int
    metrics: tuple[int, ...]


def specs(settings: Settings, ports: Ports, logs: Path) -> Iterator[Spec]:
    """Every child, in the order of starting."""
    environment = child_environment(settings)
    yield Spec(
        "broker",
        broker.command(ports.broker),
        broker.environment(),
        logs / "broker.log",
        lambda: broker.answers(ports.broker),
        grace=5.0,
    )
    memory = settings.embedded.warehouse_memory_mb
    yield Spec(
        "warehouse",
        warehouse.command(settings.data_dir / "warehouse", ports.warehouse, memory_mb=memory),
        environment,
        logs / "warehouse.log",
        lambda: warehouse.ping(ports.warehouse),
        grace=40.0,
    )
    yield _headrace("collector", ("collect",), settings, logs, _http(ports.collector, "/health/ready"))
    for number, port in enumerate(ports.metrics, 1):
        last = number == len(ports.metrics)
        name, role = ("watcher", "watch") if last else (f"worker-{number}", "events")
        own = changed(settings, {"worker.metrics_port": port})
        yield _headrace(name, ("process", "--role", role), own, logs, _http(port, "/metrics"))
    yield _headrace("api", ("serve",), settings, logs, _http(ports.api, "/health/ready"))


def _headrace(name: str, words: tuple[str, ...], settings: Settings, logs: Path, healthy: Callable[[], bool]) -> Spec:
    command = (sys.executable, "-m", "deploy.cli", *words)
    return Spec(name, command, child_environment(settings), logs / f"{name}.log", healthy, grace=25.0)


def _http(port: int, path: str) -> Callable[[], bool]:
    """A health check: GET answers 200 on loopback."""

    def healthy() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return healthy
