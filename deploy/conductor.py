"""What `headrace up` does with its child processes: boot, watch, renew the broker, drain, stop. One thread, one order.

Everything that speaks to the broker holds nothing durable of its own, so the order of stopping is the guarantee: the
two doors (collector, API) first; then what they took is stored; then the watcher, which publishes events itself; then
what it published is stored; then workers, warehouse, broker.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from deploy.migrations import create_all_topics, migrate_tables
from deploy.parts import CONSUMED, Ports, group_of, keeps_data, prepare_broker, specs
from deploy.settings import Settings
from deploy.supervise import Child, stop_all
from schemas.clock import Clock
from schemas.errors import Fatal, HeadraceError, Retryable

log = logging.getLogger("headrace.up")

BOOT_SECONDS: Final = 60.0
_TICK: Final = 0.2
_HOUSEKEEPING_SECONDS: Final = 10.0
_DRAIN_SECONDS: Final = 30.0


class Conductor:
    """Runs on the thread that calls `run`; the children die with it. The events may be set from anywhere."""

    def __init__(self, settings: Settings, ports: Ports, logs: Path, clock: Clock) -> None:
        self.ready, self.stopping, self.killing = threading.Event(), threading.Event(), threading.Event()
        self.children = {spec.name: Child(spec, clock) for spec in specs(settings, ports, logs)}
        self._settings, self._ports = settings, ports
        self._clock = clock
        self._began = 0.0
        self._recycle_after = 0.0

    def run(self) -> None:
        """Boot, watch until `stopping` is set, and stop everything. Raises Fatal when it could not boot."""
        self._began = self._clock.monotonic()
        try:
            self._boot()
            self.ready.set()
            self._watch()
        finally:
            self._shut_down()

    def unready(self) -> list[str]:
        """Names of children whose health check fails."""
        return [name for name, child in self.children.items() if not child.spec.healthy()]

    def _boot(self) -> None:
        prepare_broker(self._settings, self._ports)
        self._start("broker", "warehouse")
        # Those that take longest to import go first; they wait for the tables themselves.
        self._start("watcher", *self._workers(), "api")
        self._open_broker()
        self._start("collector")
        self._await("warehouse")
        migrate_tables(self._settings, self._clock, tell=log.debug)
        self._tell("tables are up to date")
        self._await(*(name for name in self.children if name not in ("broker", "warehouse")))
        self._await_assignment()

    def _open_broker(self) -> None:
        self._await("broker")
        create_all_topics(self._settings, self._clock)
        self._tell("topics are there")

    def _workers(self) -> list[str]:
        return [name for name in self.children if name.startswith("worker")]

    def _start(self, *names: str) -> None:
        for name in names:
            if not self.stopping.is_set():
                self.children[name].start()

    def _await(self, *names: str) -> None:
        """Wait until children are healthy. Raises Fatal when one dies meanwhile."""
        deadline = self._clock.monotonic() + BOOT_SECONDS
        for child in (self.children[name] for name in names):
            while not child.spec.healthy():
                self._check_booting(child, deadline)
                self._clock.sleep(0.02)
            self._tell(f"{child.name} answers")

    def _await_assignment(self) -> None:
        """Wait until the workers have dealt out their partitions: from now on events flow through."""
        from deploy.floods import WAY_ON, flooded
        from deploy.kafka_admin import stable_groups

        if flooded(self._settings, self._clock):
            log.critical("the workers wait at a flood of bad messages: no event is stored. %s", WAY_ON)
            return

        deadline = self._clock.monotonic() + BOOT_SECONDS
        group = group_of(self._settings, "events")
        while not stable_groups(self._settings.kafka.bootstrap, [group]):
            for name in self._workers():
                self._check_booting(self.children[name], deadline)
            self._clock.sleep(0.2)
        self._tell("partitions are assigned")

    def _check_booting(self, child: Child, deadline: float) -> None:
        if why := child.ended():
            raise Fatal(f"{child.name} ended at its start with {why}")
        if self.stopping.is_set():
            raise Fatal("stopped before it was ready")
        if self._clock.monotonic() > deadline:
            raise Fatal(f"{child.name} is not ready after {BOOT_SECONDS:.0f} s; see {child.spec.log_path}")

    def _tell(self, what: str) -> None:
        log.info("%4.1f s  %s", self._clock.monotonic() - self._began, what)

    def _watch(self) -> None:
        next_housekeeping = self._clock.monotonic() + _HOUSEKEEPING_SECONDS
        while not self.stopping.wait(_TICK):
            if not keeps_data(self._settings) and (why := self.children["broker"].ended()):
                self._replace_broker(why)
            for child in self.children.values():
                if why := child.ended():
                    seconds = child.plan_restart()
                    log.error("%s ended with %s\nstarting it again in %.1f s", child.name, why, seconds)
                elif child.start_if_due():
                    log.info("%s started again", child.name)
            if self._clock.monotonic() > next_housekeeping:
                next_housekeeping = self._clock.monotonic() + _HOUSEKEEPING_SECONDS
                self._keep_house()

    def _keep_house(self) -> None:
        for child in self.children.values():
            child.trim_log()
        if keeps_data(self._settings):
            return
        used = _memory(self.children["broker"].pid) >> 20
        if used > self._settings.embedded.broker_memory_mb and self._clock.monotonic() > self._recycle_after:
            self._recycle_broker(used)

    def _replace_broker(self, why: str) -> None:
        """The broker is gone, and with it what only it held."""
        log.error(
            "the broker ended with %s\nIts topics were in memory: events that were acknowledged and not yet stored are "
            "lost; send the last seconds again. Starting it, the topics, the collector and the workers anew.",
            why,
        )
        self._stop("collector", "watcher", *self._workers(), grace=0.5)
        self.children["broker"].forget()
        self._renew()

    def _recycle_broker(self, used: int) -> None:
        """Drain everything through, then start the broker empty: its memory is bounded, and nothing is lost."""
        log.info("the broker holds %d MiB; draining it and starting a fresh one", used)
        if self._drain_doors():
            self._stop(*self._workers())
            self._stop("broker")
            self._renew("api")
        else:
            self._recycle_after = self._clock.monotonic() + 60
            log.warning("the workers are too far behind to renew the broker now; trying again in a minute")
            self._start(*(name for name, child in self.children.items() if not child.running))

    def _renew(self, *more: str) -> None:
        """A fresh broker with topics, then everybody who speaks to it, as new incarnations."""
        while not self.stopping.is_set():
            self._start("broker")
            try:
                self._open_broker()
                break
            except HeadraceError as error:
                log.error("the broker cannot be used: %s", error)
                self.children["broker"].kill()
                self.stopping.wait(1.0)
        self._start("collector", *self._workers(), "watcher", *more)
        log.info("the broker is up again, with its topics; collector and workers start anew")

    def _drain_doors(self) -> bool:
        """Close the doors and see everything through to the warehouse; False when that takes too long."""
        self._stop("collector", "api")
        events = {"events": CONSUMED["events"]}
        if not self._drained(CONSUMED):
            return False
        self._stop("watcher")
        return self._drained(events)

    def _drained(self, consumed: Mapping[str, Sequence[str]]) -> bool:
        """Wait until the consumers of these roles have stored all that Kafka holds for them."""
        from deploy.kafka_admin import lag

        deadline = self._clock.monotonic() + _DRAIN_SECONDS
        while not self.killing.is_set() and self._clock.monotonic() < deadline:
            try:
                kafka = self._settings.kafka.bootstrap
                behind = [lag(kafka, group_of(self._settings, role), read) for role, read in consumed.items()]
            except Retryable as error:
                log.warning("cannot ask how far the workers are: %s", error)
                return False
            if not any(sum(topics.values()) for topics in behind):
                return True
            self._clock.sleep(0.1)
        return False

    def _stop(self, *names: str, grace: float = 0.0) -> None:
        children = [self.children[name] for name in names]
        stop_all(children, self._clock, impatient=self.killing.is_set, grace=grace)

    def _shut_down(self) -> None:
        alive = all(self.children[name].running for name in ("broker", "warehouse", *self._workers()))
        with contextlib.suppress(HeadraceError):
            if self.ready.is_set() and alive and not self._drain_doors() and not self.killing.is_set():
                fate = "is stored after the next start" if keeps_data(self._settings) else "goes with the broker"
                log.warning("the workers did not finish in time: what is not stored yet %s", fate)
        self._stop("collector", "api", "watcher", *self._workers())
        self._stop("warehouse")
        self._stop("broker")


def _memory(pid: int | None) -> int:
    """Resident bytes of a process; 0 when it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else 0
    except psutil.NoSuchProcess:
        return 0
