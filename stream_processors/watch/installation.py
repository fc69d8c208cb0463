"""Readings about the installation itself: collectors, APIs, how far the workers are behind, and disks.

Reads, each on a timer of its own: `/metrics` of collectors and APIs, consumer lag of Kafka, the data folder's disk, the
warehouse's own, and floods at which a consumer has stopped. Writes: nothing; the watcher judges `readings`. They belong
to the operator's tenant. On failure: what cannot be asked gives no reading, which is said once; what hangs gives none
as soon as the last one is too old.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from schemas.alerting.readings import Reading
from schemas.alerting.rules import Rules
from schemas.clock import Clock
from schemas.errors import Permanent, Retryable
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import Disk, DiskPort, LagPort, PagePort, WarehousePort
from stream_processors.routes import Background
from stream_processors.settings import WatcherSettings, addresses
from stream_processors.watch import floods, scrapes
from stream_processors.watch.outages import Outages
from stream_processors.watch.scrapes import Needed, Scrapes

LAG: Final = "consumer_lag_events"
DISK: Final = "disk_used_percent"
MISSED_LOOKS: Final = 3
HANG_SECONDS: Final = 15.0
"""A reading holds for so many looks, and for as long as one of them may take."""

BOUNDLESS: Final = 2**62
"""Object storage says that it has so many bytes, or more."""


@dataclass(frozen=True)
class InstallationPorts:
    """What the readings come from."""

    warehouse: WarehousePort
    lag: LagPort
    pages: PagePort
    disk: DiskPort
    clock: Clock


class Installation:
    """What the rules need to know about the installation. `background` runs in threads; `readings` never blocks."""

    def __init__(
        self, settings: WatcherSettings, rules: Rules, ports: InstallationPorts, metrics: WorkerMetrics
    ) -> None:
        self._settings, self._ports, self._metrics = settings, ports, metrics
        self._needed: Needed = {one for one in rules.needed() if one[2] == "tenant"}
        keep = max((window for signal, window, _ in self._needed if signal in scrapes.SIGNALS), default=0.0)
        urls: dict[scrapes.Part, list[str]] = {
            "collector": addresses(settings.collectors),
            "api": addresses(settings.apis),
        }
        self._scrapes = Scrapes(ports.pages, urls, settings.operator_tenant, keep)
        self._lag_outages, self._disk_outages, self._flood_outages = Outages(), Outages(), Outages()
        self._found: dict[str, Sequence[Reading]] = {}

    def background(self) -> tuple[Background, ...]:
        """The looks that some rule needs."""
        looks: tuple[tuple[str, frozenset[str], Callable[[Needed, float], list[Reading]]], ...] = (
            ("scrape", scrapes.SIGNALS, self._scrapes.look),
            ("lag", frozenset({LAG}), self._lag),
            ("disks", frozenset({DISK}), self._disks),
            ("floods", frozenset({floods.SIGNAL}), self._floods),
        )
        return tuple(
            Background(name, self._settings.installation_seconds, partial(self._look, name, wanted, read))
            for name, signals, read in looks
            if (wanted := {one for one in self._needed if one[0] in signals})
        )

    def readings(self) -> list[Reading]:
        """What is known now."""
        oldest = self._ports.clock.now() - MISSED_LOOKS * self._settings.installation_seconds - HANG_SECONDS
        return [reading for found in list(self._found.values()) for reading in found if reading.at >= oldest]

    def _look(self, name: str, needed: Needed, read: Callable[[Needed, float], list[Reading]]) -> None:
        self._found[name] = read(needed, self._ports.clock.now())

    def _lag(self, needed: Needed, now: float) -> list[Reading]:
        try:
            topics = self._ports.lag.waiting()
        except Retryable as error:
            self._metrics.retried("lag")
            self._lag_outages.failed("the consumer lag", error)
            return []
        self._lag_outages.answered("the consumer lag")
        events = sum(waiting.events for waiting in topics.values())
        return self._readings(needed, events, now, {"topics": {name: one._asdict() for name, one in topics.items()}})

    def _disks(self, needed: Needed, now: float) -> list[Reading]:
        disks = [
            *self._try("the disk of the data folder", self._local),
            *self._try("the warehouse's disks", self._remote),
        ]
        if not disks:
            return []
        fullest = max(disks, key=used_percent)
        evidence = {
            **fullest._asdict(),
            "disks": [{"name": disk.name, "path": disk.path, "used_percent": used_percent(disk)} for disk in disks],
        }
        return self._readings(needed, used_percent(fullest), now, evidence)

    def _floods(self, needed: Needed, now: float) -> list[Reading]:
        try:
            n, evidence = floods.open_floods(self._ports.warehouse)
        except (Retryable, Permanent) as error:
            self._metrics.retried("floods")
            self._flood_outages.failed("the floods of bad messages", error)
            return []
        self._flood_outages.answered("the floods of bad messages")
        return self._readings(needed, n, now, evidence)

    def _readings(self, needed: Needed, value: float, now: float, evidence: Mapping[str, Any]) -> list[Reading]:
        """The value of this moment, under every window that a rule may have written."""
        tenant = self._settings.operator_tenant
        return [Reading(tenant, signal, "", window, value, 1, now, evidence) for signal, window, _ in sorted(needed)]

    def _try(self, name: str, read: Callable[[], list[Disk]]) -> list[Disk]:
        try:
            found = read()
        except (Retryable, Permanent) as error:
            self._metrics.retried("disks")
            self._disk_outages.failed(name, error)
            return []
        self._disk_outages.answered(name)
        return found

    def _local(self) -> list[Disk]:
        return [self._ports.disk.disk()]

    def _remote(self) -> list[Disk]:
        rows = self._ports.warehouse.query("SELECT name, path, total_space, free_space FROM system.disks")
        disks = [
            Disk(f"warehouse: {row['name']}", row["path"], int(row["total_space"]), int(row["free_space"]))
            for row in rows
        ]
        return [disk for disk in disks if 0 < disk.total < BOUNDLESS]


def used_percent(disk: Disk) -> float:
    """What is not free, of all. What the system reserves for root is not free."""
    return 100 * (disk.total - disk.free) / disk.total
