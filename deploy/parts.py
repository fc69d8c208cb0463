"""The child processes of `headrace up`: command, environment, log and health check of each."""

from __future__ import annotations

import http.client
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.embedded import broker, kafka, warehouse
from deploy.settings import Settings, changed, child_environment
from deploy.supervise import Spec
from schemas import topics

log = logging.getLogger("headrace.up")

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
    controller: int
    warehouse: int
    collector: int
    api: int
    metrics: tuple[int, ...]


def specs(settings: Settings, ports: Ports, logs: Path) -> Iterator[Spec]:
    """Every child, in the order of starting."""
    environment = child_environment(settings)
    yield _broker(settings, ports, logs / "broker.log")
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


def keeps_data(settings: Settings) -> bool:
    """Whether the broker has its topics on disk, so that they are there when it comes back."""
    return settings.embedded.broker == "apache"


def prepare_broker(settings: Settings, ports: Ports) -> None:
    """Make the folder of a broker that has one. Raises Fatal."""
    if keeps_data(settings):
        kafka.prepare(_layout(settings, ports), kafka.find_program(log.info))


def _broker(settings: Settings, ports: Ports, log_path: Path) -> Spec:
    if not keeps_data(settings):
        words, environment = broker.command(ports.broker), broker.environment()
        return Spec("broker", words, environment, log_path, lambda: broker.answers(ports.broker), grace=5.0)
    layout = _layout(settings, ports)
    place = layout.places[0]
    words = kafka.command(layout, place, kafka.find_program(log.info))
    return Spec("broker", words, kafka.environment(), log_path, lambda: kafka.is_up(place), grace=20.0)


def _layout(settings: Settings, ports: Ports) -> kafka.Layout:
    return kafka.plan(settings.data_dir / "kafka", ports=(ports.broker,), controller_ports=(ports.controller,))


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
