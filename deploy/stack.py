"""Everything on one machine: broker, warehouse, collector, workers, watcher and API as supervised child processes.

As a library (the demo and the end-to-end tests do this):

    stack = Stack(local_settings(data_dir=tmp_path, collector_port=0, api_port=0))
    stack.start()
    stack.wait_ready()                  # raises Fatal with the reason
    ... stack.collector_url, stack.api_url, stack.warehouse_url, stack.kafka, stack.pid_of("worker-1") ...
    stack.stop()                        # drains: collector, workers, watcher, API, warehouse, broker

One thread starts and watches all children; they die with it. When the broker dies its topics are gone: it is started
again, the topics are made again, and collector and workers start anew; events that were acknowledged but not yet
stored are lost then, and the log says so. When the broker's memory reaches its bound, the same is done after draining,
and nothing is lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import threading
from pathlib import Path
from typing import Final

import psutil

from deploy.embedded.process import free_port, free_ports
from deploy.migrations import create_all_topics, migrate_tables
from deploy.parts import CONSUMED, Ports, group_of, specs
from deploy.settings import Settings, changed, load
from deploy.supervise import Child, stop_all
from schemas.clock import Clock, SystemClock
from schemas.errors import Fatal, HeadraceError, Retryable

log = logging.getLogger("headrace.up")

_TICK: Final = 0.2
_HOUSEKEEPING_SECONDS: Final = 10.0
_BOOT_SECONDS: Final = 60.0
_DRAIN_SECONDS: Final = 30.0
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def local_settings(
    *,
    data_dir: Path | None = None,
    collector_port: int | None = None,
    api_port: int | None = None,
    workers: int | None = None,
    base: Settings | None = None,
) -> Settings:
    """Settings for one machine: `base` (default: this process's own) with these values; port 0 takes a free one.

    Development keys are let in unless they were switched off, or an address can be reached from outside.
    """
    overrides = {
        "data_dir": data_dir,
        "collector.port": free_port() if collector_port == 0 else collector_port,
        "serve.port": free_port() if api_port == 0 else api_port,
        "workers": workers,
    }
    given = {name: value for name, value in overrides.items() if value is not None}
    base = base or load()
    settings = changed(base, given)
    asked = "dev_keys" in base.model_fields_set
    if not asked and settings.collector.host in _LOOPBACK and settings.serve.host in _LOOPBACK:
        settings = changed(settings, {"dev_keys": True})
    return settings


class Stack:
    """The whole pipeline. `start` once, `stop` once; any thread may call."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        broker, warehouse, *metrics = free_ports(settings.workers + 3)
        self._ports = Ports(broker, warehouse, settings.collector.port, settings.serve.port, tuple(metrics))
        self.settings = changed(
            settings,
            {
                "data_dir": settings.data_dir.resolve(),
                "kafka.bootstrap": f"127.0.0.1:{self._ports.broker}",
                "kafka.session_timeout": 6.0,
                "warehouse.url": f"http://127.0.0.1:{self._ports.warehouse}",
                "watcher.base_url": f"http://{settings.serve.host}:{settings.serve.port}",
            },
        )
        self.kafka = self.settings.kafka.bootstrap
        self.warehouse_url = self.settings.warehouse.url
        self.collector_url = f"http://{self.settings.collector.host}:{self._ports.collector}"
        self.api_url = f"http://{self.settings.serve.host}:{self._ports.api}"
        self._children: dict[str, Child] = {}
        self._ready, self._stopping, self._killing = threading.Event(), threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._recycle_after = 0.0
        self._lock, self._began = -1, 0.0
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    @property
    def logs(self) -> Path:
        """Folder of the children's logs."""
        return self.settings.data_dir / "logs"

    def start(self) -> None:
        """Begin; returns at once. Raises Fatal when a port is taken or the data folder is in use."""
        self.logs.mkdir(parents=True, exist_ok=True)
        for name, host, port in (
            ("collector", self.settings.collector.host, self._ports.collector),
            ("API", self.settings.serve.host, self._ports.api),
        ):
            _check_free(name, host, port)
        self._lock = _lock(self.settings.data_dir)
        self._began = self._clock.monotonic()
        self._thread.start()

    def wait_ready(self, timeout: float = _BOOT_SECONDS) -> None:
        """Block until every health check passes. Raises Fatal with the reason when that does not happen."""
        deadline = self._clock.monotonic() + timeout
        while not self._ready.wait(0.05):
            if self._failure is not None or not self._thread.is_alive():
                self._thread.join()
                raise Fatal(str(self._failure or "stopped before it was ready")) from self._failure
            if self._clock.monotonic() > deadline:
                waiting = ", ".join(name for name, child in self._children.items() if not child.spec.healthy())
                self.stop()
                raise Fatal(f"not ready after {timeout:.0f} s; waiting for: {waiting}. Logs are in {self.logs}")

    def request_stop(self) -> None:
        """As `stop`, but returns at once; for signal handlers."""
        self._stopping.set()

    def stop(self) -> None:
        """Drain and stop everything in order; returns when all have ended."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def kill(self) -> None:
        """Do not drain: end everything now."""
        self._killing.set()
        self._stopping.set()

    def wait(self) -> None:
        """Block until it has stopped. Raises Fatal when it could not go on."""
        while self._thread.is_alive():
            self._thread.join(0.2)
        if self._failure is not None:
            raise Fatal(str(self._failure)) from self._failure

    def pid_of(self, name: str) -> int | None:
        """Process id of a child: broker, warehouse, collector, worker-1…, watcher, api; None while it is down."""
        return self._children[name].pid

    # Everything below runs on the supervisor's thread.

    def _run(self) -> None:
        try:
            self._boot()
            self._ready.set()
            self._watch()
        except Exception as error:
            self._failure = error
            if not self._stopping.is_set():
                log.exception("cannot go on")
        finally:
            self._shut_down()
            os.close(self._lock)

    def _boot(self) -> None:
        self._children = {spec.name: Child(spec, self._clock) for spec in specs(self.settings, self._ports, self.logs)}
        self._start("broker", "warehouse")
        # Those that take longest to import go first; they wait for the tables themselves.
        self._start("watcher", *(name for name in self._consumers() if name != "watcher"), "api")
        self._open_broker()
        self._start("collector")
        self._await("warehouse")
        migrate_tables(self.settings, self._clock, tell=log.debug)
        self._tell("tables are up to date")
        self._await(*self._children)
        self._await_assignment()

    def _open_broker(self) -> None:
        self._await("broker")
        create_all_topics(self.settings, self._clock)
        self._tell("topics are there")

    def _start(self, *names: str) -> None:
        for name in names:
            if name in self._children and not self._stopping.is_set():
                self._children[name].start()

    def _consumers(self) -> list[str]:
        return [name for name in self._children if name.startswith(("worker", "watcher"))]

    def _await(self, *names: str) -> None:
        """Wait until children are healthy; one that dies meanwhile ends the attempt with Fatal."""
        deadline = self._clock.monotonic() + _BOOT_SECONDS
        for child in (self._children[name] for name in names):
            while not child.spec.healthy():
                self._check_booting(child, deadline)
                self._clock.sleep(0.02)
            self._tell(f"{child.name} answers")

    def _tell(self, what: str) -> None:
        log.info("%4.1f s  %s", self._clock.monotonic() - self._began, what)

    def _check_booting(self, child: Child, deadline: float) -> None:
        if why := child.ended():
            raise Fatal(f"{child.name} ended at its start with {why}")
        if self._stopping.is_set():
            raise Fatal("stopped before it was ready")
        if self._clock.monotonic() > deadline:
            raise Fatal(f"{child.name} is not ready after {_BOOT_SECONDS:.0f} s; see {child.spec.log_path}")

    def _await_assignment(self) -> None:
        """Wait until the workers have dealt out their partitions: from now on events flow through."""
        from deploy.kafka_admin import stable_groups

        deadline = self._clock.monotonic() + _BOOT_SECONDS
        group = group_of(self.settings, "events")
        while not stable_groups(self.kafka, [group]):
            for name in self._consumers():
                self._check_booting(self._children[name], deadline)
            self._clock.sleep(0.2)
        self._tell("partitions are assigned")

    def _watch(self) -> None:
        next_housekeeping = self._clock.monotonic() + _HOUSEKEEPING_SECONDS
        while not self._stopping.wait(_TICK):
            if why := self._children["broker"].ended():
                self._replace_broker(why)
            for child in self._children.values():
                if why := child.ended():
                    seconds = child.plan_restart()
                    log.error("%s ended with %s\nstarting it again in %.1f s", child.name, why, seconds)
                elif child.start_if_due():
                    log.info("%s started again", child.name)
            if self._clock.monotonic() > next_housekeeping:
                next_housekeeping = self._clock.monotonic() + _HOUSEKEEPING_SECONDS
                self._keep_house()

    def _keep_house(self) -> None:
        for child in self._children.values():
            child.trim_log()
        pid = self._children["broker"].pid
        used = psutil.Process(pid).memory_info().rss >> 20 if pid else 0
        if used > self.settings.embedded.broker_memory_mb and self._clock.monotonic() > self._recycle_after:
            self._recycle_broker(used)

    def _replace_broker(self, why: str) -> None:
        """The broker is gone, and with it what only it held."""
        log.error(
            "the broker ended with %s\nIts topics were in memory: events that were acknowledged and not yet stored are "
            "lost; send the last seconds again. Starting it, the topics, the collector and the workers anew.",
            why,
        )
        self._stop("collector", *self._consumers(), grace=0.5)
        self._children["broker"].forget()
        self._renew()

    def _recycle_broker(self, used: int) -> None:
        """Drain everything through, then start the broker empty: its memory is bounded, and nothing is lost."""
        log.info("the broker holds %d MiB; draining it and starting a fresh one", used)
        self._stop("collector")
        if self._drain():
            self._stop(*self._consumers())
            self._stop("broker")
            self._renew()
        else:
            self._recycle_after = self._clock.monotonic() + 60
            log.warning("the workers are too far behind to renew the broker now; trying again in a minute")
            self._start("collector")

    def _renew(self) -> None:
        """A fresh broker with topics, then everybody who speaks to it, as new incarnations."""
        while not self._stopping.is_set():
            self._start("broker")
            try:
                self._open_broker()
                break
            except HeadraceError as error:
                log.error("the broker cannot be used: %s", error)
                self._children["broker"].kill()
                self._stopping.wait(1.0)
        self._start("collector", *self._consumers())
        log.info("the broker is up again, with its topics; collector and workers start anew")

    def _drain(self) -> bool:
        """Wait until the workers have stored all that Kafka holds; False when it takes too long."""
        from deploy.kafka_admin import lag

        deadline = self._clock.monotonic() + _DRAIN_SECONDS
        while not self._killing.is_set() and self._clock.monotonic() < deadline:
            try:
                behind = [lag(self.kafka, group_of(self.settings, role), read) for role, read in CONSUMED.items()]
            except Retryable as error:
                log.warning("cannot ask how far the workers are: %s", error)
                return False
            if not any(sum(topics.values()) for topics in behind):
                return True
            self._clock.sleep(0.2)
        return False

    def _stop(self, *names: str, grace: float = 0.0) -> None:
        children = [self._children[name] for name in names if name in self._children]
        stop_all(children, self._clock, impatient=self._killing.is_set, grace=grace)

    def _shut_down(self) -> None:
        """Collector first, so that nothing new comes; the servers last, so that everything can still be stored."""
        with contextlib.suppress(HeadraceError):
            self._stop("collector")
            consumers = [name for name in self._consumers() if self._children[name].running]
            if consumers and self._ready.is_set() and not self._killing.is_set() and not self._drain():
                log.warning(
                    "the workers did not finish in time; events that are not stored yet stay only in the broker"
                )
            self._stop(*(name for name in consumers if name.startswith("worker")))
        for name in ("watcher", "api", "warehouse", "broker", *self._children):
            self._stop(name)


def _check_free(name: str, host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            option = "--collector-port" if name == "collector" else "--api-port"
            raise Fatal(
                f"the {name} cannot listen on {host}:{port}: {error.strerror}; choose another {option}"
            ) from error


def _lock(data_dir: Path) -> int:
    handle = os.open(data_dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise Fatal(f"{data_dir} is in use by another headrace; stop it, or choose another --data-dir") from error
    return handle
