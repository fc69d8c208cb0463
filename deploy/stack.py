"""Everything on one machine: broker, warehouse, collector, workers, watcher and API as supervised child processes.

As a library (the demo and the end-to-end tests do this):

    stack = Stack(local_settings(data_dir=tmp_path, collector_port=0, api_port=0))
    stack.start()
    stack.wait_ready()                  # raises Fatal with the reason
    ... stack.collector_url, stack.api_url, stack.warehouse_url, stack.kafka, stack.pid_of("worker-1") ...
    stack.stop()                        # drains, and stops in the order that `deploy.conductor` gives

One thread starts and watches all children; they die with it. The broker is Tansu or Apache Kafka, as the setting
`embedded.broker` says. When Tansu dies its topics are gone: it is started again, the topics are made again, and
collector and workers start anew; events that were acknowledged but not yet stored are lost then, and the log says so.
When its memory reaches its bound, the same is done after draining, and nothing is lost. Apache Kafka has its topics in
the data folder: it is started again like any other child, and nothing is lost.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from pathlib import Path
from typing import Any, Final

from deploy.conductor import BOOT_SECONDS, Conductor
from deploy.embedded.process import free_port, free_ports
from deploy.parts import Ports
from deploy.running import announce, lock, withdraw
from deploy.settings import Settings, changed, load
from schemas.clock import Clock, SystemClock
from schemas.errors import Fatal

log = logging.getLogger("headrace.up")

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def local_settings(
    *,
    data_dir: Path | None = None,
    collector_port: int | None = None,
    api_port: int | None = None,
    workers: int | None = None,
    broker: str | None = None,
    base: Settings | None = None,
) -> Settings:
    """Settings for one machine: `base` (default: this process's own) with these values; port 0 takes a free one.

    Development keys are let in unless they were switched off, or an address can be reached from outside.
    """
    overrides: dict[str, Any] = {
        "data_dir": data_dir,
        "collector.port": free_port() if collector_port == 0 else collector_port,
        "serve.port": free_port() if api_port == 0 else api_port,
        "workers": workers,
        "embedded.broker": broker,
    }
    given = {name: value for name, value in overrides.items() if value is not None}
    base = base or load(overrides={"data_dir": data_dir}, join=False)
    settings = changed(base, given)
    asked = "dev_keys" in base.model_fields_set
    if not asked and settings.collector.host in _LOOPBACK and settings.serve.host in _LOOPBACK:
        settings = changed(settings, {"dev_keys": True})
    return settings


class Stack:
    """The whole pipeline. `start` once, `stop` once; any thread may call."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        broker, controller, warehouse, *metrics = free_ports(settings.workers + 4)
        self._ports = Ports(broker, controller, warehouse, settings.collector.port, settings.serve.port, tuple(metrics))
        self.settings = changed(
            settings,
            {
                "data_dir": settings.data_dir.resolve(),
                "kafka.bootstrap": f"127.0.0.1:{self._ports.broker}",
                "kafka.session_timeout": 6.0,
                "warehouse.url": f"http://127.0.0.1:{self._ports.warehouse}",
                "collector.spool.dir": settings.collector.spool.dir or settings.data_dir.resolve() / "spool",
                "watcher.base_url": f"http://{settings.serve.host}:{settings.serve.port}",
                **_watched(settings),
            },
        )
        self.kafka = self.settings.kafka.bootstrap
        self.warehouse_url = self.settings.warehouse.url
        self.collector_url = f"http://{self.settings.collector.host}:{self._ports.collector}"
        self.api_url = f"http://{self.settings.serve.host}:{self._ports.api}"
        self._conductor = Conductor(self.settings, self._ports, self.logs, self._clock)
        self._failure: BaseException | None = None
        self._lock = -1
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
        self._lock = lock(self.settings.data_dir)
        addresses: dict[str, str | int] = {
            "kafka.bootstrap": self.kafka,
            "warehouse.url": self.warehouse_url,
            "collector.port": self._ports.collector,
            "serve.port": self._ports.api,
        }
        announce(self.settings.data_dir, addresses)
        self._thread.start()

    def wait_ready(self, timeout: float = BOOT_SECONDS) -> None:
        """Block until every health check passes. Raises Fatal with the reason when that does not happen."""
        deadline = self._clock.monotonic() + timeout
        while not self._conductor.ready.wait(0.05):
            if not self._thread.is_alive():
                raise Fatal(str(self._failure or "stopped before it was ready")) from self._failure
            if self._clock.monotonic() > deadline:
                waiting = ", ".join(self._conductor.unready())
                self.stop()
                raise Fatal(f"not ready after {timeout:.0f} s; waiting for: {waiting}. Logs are in {self.logs}")

    def request_stop(self) -> None:
        """As `stop`, but returns at once; for signal handlers."""
        self._conductor.stopping.set()

    def stop(self) -> None:
        """Drain and stop everything in order; returns when all have ended."""
        self._conductor.stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def kill(self) -> None:
        """Do not drain: end everything now."""
        self._conductor.killing.set()
        self._conductor.stopping.set()

    def wait(self) -> None:
        """Block until it has stopped. Raises Fatal when it could not go on."""
        while self._thread.is_alive():
            self._thread.join(0.2)
        if self._failure is not None:
            raise Fatal(str(self._failure)) from self._failure

    def pid_of(self, name: str) -> int | None:
        """Process id of a child: broker, warehouse, collector, worker-1…, watcher, api; None while it is down."""
        return self._conductor.children[name].pid

    def _run(self) -> None:
        try:
            self._conductor.run()
        except Exception as error:
            self._failure = error
            if not self._conductor.stopping.is_set():
                log.error("cannot go on: %s", error, exc_info=not isinstance(error, Fatal))
        finally:
            withdraw(self.settings.data_dir)
            os.close(self._lock)


def _watched(settings: Settings) -> dict[str, str]:
    """Where the watcher reads what collector and API count, unless other addresses were given."""
    ours = {
        "collectors": _from_here(settings.collector.host, settings.collector.port),
        "apis": _from_here(settings.serve.host, settings.serve.port),
    }
    return {f"watcher.{name}": url for name, url in ours.items() if name not in settings.watcher.model_fields_set}


def _from_here(host: str, port: int) -> str:
    """The URL under which this machine reaches what listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - to recognise it
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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
