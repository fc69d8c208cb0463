"""A whole pipeline of real processes, each to be killed, stopped, started and looked at by name.

    with Pipeline(tmp_path, "tansu", workers=2) as pipeline:
        with pipeline.client(traffic, 10_000) as client:
            client.wait_for(0.5)
            pipeline.kill("worker-1"); pipeline.start("worker-1")
        pipeline.wait_drained()

Names: `warehouse`, `collector-N`, `worker-N`, `watcher`, `api`; the broker is `pipeline.broker`, of
tests/kafka_servers.py. Every process has its log in the folder. `proxied` puts a Proxy in front of "kafka",
"warehouse" or "collector" (`pipeline.proxies["kafka"]`), through which all go. Keys: the development keys.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from deploy.embedded import warehouse
from deploy.embedded.process import free_ports, tail
from deploy.kafka_admin import lag, stable_groups
from deploy.migrations import create_all_topics, migrate_tables
from deploy.parts import CONSUMED, group_of
from deploy.settings import Settings, load, to_environment
from schemas.clock import SystemClock
from schemas.errors import Retryable
from schemas.keys import DEV_SECRET_KEY
from sinks.warehouse import Warehouse
from tests.e2e.doors import ANALYTICS, eventually
from tests.faults.client import Client
from tests.faults.proxy import Proxy
from tests.faults.traffic import Traffic
from tests.kafka_servers import KafkaServer, open_kafka
from tests.support.processes import CLI, HeadraceProcess

PATIENCE = 180.0
BOOT_SECONDS = 120.0
RUNNER = "tests.faults.defective"


class Pipeline:
    """A broker, a warehouse with tables, collectors and workers, all up when `with` begins; all gone when it ends."""

    def __init__(
        self,
        folder: Path,
        kind: str,
        *,
        workers: int = 1,
        collectors: int = 1,
        watcher: bool = False,
        api: bool = False,
        proxied: Iterable[str] = (),
        plants: Mapping[str, str] | None = None,
        broker_config: Mapping[str, str] | None = None,
        warehouse_data: Path | None = None,
        **settings: str,
    ) -> None:
        """`kind`: of tests/kafka_servers.py. `plants`: process name -> what tests/faults/defective.py plants in it.

        `settings`: of all processes, without prefix (`WORKER_TAKE_CHUNKS="4"`). `broker_config`: lines of
        server.properties. `warehouse_data`: the warehouse's folder, for example on a small file system.
        """
        self.folder, self.kind = folder, kind
        self.processes: dict[str, HeadraceProcess] = {}
        self.proxies: dict[str, Proxy] = {}
        self._proxied, self._plants = frozenset(proxied), dict(plants or {})
        self._broker_config, self._more = broker_config, dict(settings)
        self._kafka = self._house = ""
        self._house_data = warehouse_data or folder / "warehouse"
        names = [f"collector-{n + 1}" for n in range(collectors)] + [f"worker-{n + 1}" for n in range(workers)]
        self._names = [*names, *(["watcher"] if watcher else []), *(["api"] if api else [])]
        house, first, *ports = free_ports(2 + len(self._names))
        self._house_port, self._kafka_port = house, first
        self._ports = dict(zip(self._names, ports, strict=True))
        self.broker: KafkaServer
        self.settings: Settings
        self.warehouse: Warehouse

    def __enter__(self) -> Pipeline:
        try:
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._tell_ends()
        self.close()

    def close(self) -> None:
        """End everything, whatever state it is in."""
        for process in self.processes.values():
            process.end()
        for proxy in self.proxies.values():
            proxy.close()
        if hasattr(self, "broker"):
            self.broker.close()

    @property
    def workers(self) -> list[str]:
        """Names of the workers, running or not."""
        return [name for name in self.processes if name.startswith("worker-")]

    @property
    def collectors(self) -> list[str]:
        """Names of the collectors."""
        return [name for name in self.processes if name.startswith("collector-")]

    @property
    def collector_urls(self) -> list[str]:
        """Where clients send to."""
        if "collector" in self.proxies:
            return [self.proxies["collector"].url]
        return [f"http://127.0.0.1:{self._ports[name]}" for name in self.collectors]

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self._ports['api']}"

    @property
    def group(self) -> str:
        """The workers' consumer group."""
        return group_of(self.settings, "events")

    def metrics_url(self, name: str) -> str:
        """Prometheus page of a process."""
        return f"http://127.0.0.1:{self._ports[name]}/metrics"

    def client(self, traffic: Traffic, count: int, **more: object) -> Client:
        """A client of all collectors; see `Client`."""
        return Client(self.collector_urls, traffic, count, **more)  # type: ignore[arg-type]

    def start(self, *names: str, ready: bool = True) -> None:
        """Start processes at once. `ready`: wait until they answer (a worker: until it shows its metrics)."""
        for name in names:
            self.processes[name].start()
        for name in names if ready else ():
            self.wait_ready(name)

    def kill(self, name: str) -> None:
        """SIGKILL, gone when this returns."""
        self.processes[name].kill()

    def term(self, name: str, timeout: float = 60.0) -> float:
        """SIGTERM; seconds until it was gone, with status 0."""
        return self.processes[name].term(timeout)

    def stop_process(self, name: str) -> None:
        """SIGSTOP: it hangs."""
        self.processes[name].pause()

    def cont(self, name: str) -> None:
        """SIGCONT."""
        self.processes[name].resume()

    def alive(self, name: str) -> bool:
        return self.processes[name].alive

    def rss(self, name: str) -> int:
        """Resident bytes."""
        return self.processes[name].rss()

    def log_text(self, name: str) -> str:
        """All that it ever wrote."""
        return self.processes[name].log.read_text(encoding="utf-8", errors="replace")

    def restart_dead(self) -> list[str]:
        """What a supervisor does: start again whatever ended by itself; the names."""
        dead = [name for name, process in self.processes.items() if not process.alive]
        self.start(*dead, ready=False)
        return dead

    def add_worker(self, plant: str = "", **settings: str) -> str:
        """One more worker, started; its name. `settings` of its own."""
        name = f"worker-{1 + max((int(one.split('-')[1]) for one in self.workers), default=0)}"
        self._ports[name] = free_ports(1)[0]
        self._add(name, plant or self._plants.get(name, ""), settings)
        self.start(name, ready=False)
        return name

    def replant(self, name: str, plant: str) -> None:
        """What its next life runs with: plants of tests/faults/defects.py, "" for the product as it is."""
        self.processes[name].through = _through(plant)

    def resettle(self, **settings: str) -> None:
        """Other settings, for every process from its next life on."""
        before = to_environment(self.settings)
        self._more.update(settings)
        self.settings = self._settings()
        for process in self.processes.values():
            own = {key: value for key, value in process.environment.items() if before.get(key) != value}
            process.environment = {**to_environment(self.settings), **own}

    def wait_ready(self, name: str) -> None:
        """Wait until a process answers; AssertionError with its log when it ends instead."""
        process = self.processes[name]

        def ready() -> bool:
            process.check()
            return self._answers(name)

        eventually(ready, within=BOOT_SECONDS)

    def wait_assigned(self) -> None:
        """Wait until the workers have dealt out their partitions."""
        eventually(lambda: self.group in stable_groups(self.settings.kafka.bootstrap, [self.group]), within=PATIENCE)

    def ask_api(self, path: str, **params: str) -> Any:
        """What the API answers to a GET below its analytics, with the development key."""
        headers = {"Authorization": f"Bearer {DEV_SECRET_KEY}"}
        answer = httpx.get(f"{self.api_url}{ANALYTICS}/{path}", params=params, headers=headers, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def lag(self) -> int:
        """Records that the workers have not acknowledged."""
        return sum(lag(self.settings.kafka.bootstrap, self.group, CONSUMED["events"]).values())

    def wait_drained(self, within: float = PATIENCE, *, supervise: bool = False) -> float:
        """Wait until the workers acknowledged everything; seconds it took. `supervise`: start what ended by itself."""
        began = time.monotonic()
        behind: int | str = "unknown"
        while behind != 0:
            if supervise:
                self.restart_dead()
            for name in self.workers:
                if not self.processes[name].stopped and self.processes[name].status not in (0, -9):
                    self.processes[name].check()
            assert time.monotonic() - began < within, f"not drained after {within:.0f} s: {behind} records behind"
            try:
                behind = self.lag()
            except Retryable as error:
                behind = str(error)
            time.sleep(0.1)
        return time.monotonic() - began

    def behind(self, tenant: str = "demo") -> float:
        """The lag in seconds while traffic flows: the age of what was stored last, on the slowest partition."""
        return time.time() - self.stored_until(tenant)

    def stored_until(self, tenant: str = "demo") -> float:
        """Up to which time of receipt (Unix seconds) events are stored on every partition; 0 while one has none."""
        # What was stored in the last minutes is asked first: all rows, every few seconds, is work that grows with them.
        of_tenant = "tenant = {tenant:String}"
        for where in (f"{of_tenant} AND inserted_at >= now() - 120", of_tenant):
            rows = self.warehouse.query(
                "SELECT count() AS n, min(newest) AS oldest FROM (SELECT slot % {count:UInt16} AS p,"
                f" max(toFloat64(received_at)) AS newest FROM events WHERE {where} GROUP BY p)",
                {"tenant": tenant, "count": self.settings.kafka.partitions},
            )
            if rows[0]["n"] == self.settings.kafka.partitions:
                return float(rows[0]["oldest"])
        return 0.0

    def recovery_seconds(
        self, since: float, client: Client, *, normal: float = 3.0, within: float = 120.0, supervise: bool = False
    ) -> float:
        """Seconds from `since` (Unix seconds) until events that came later are stored, and `behind` is normal again.

        When the client has nothing more to send meanwhile, until all that it sent is acknowledged. `within` when that
        takes longer: it is for the scenario to judge. `supervise`: start what ended by itself.
        """
        deadline = time.monotonic() + within

        def behind() -> float:
            if supervise:
                self.restart_dead()
            if not client.sending:
                self.wait_drained(supervise=supervise)
                return 0.0
            at = self.stored_until()
            return time.time() - at if at > since else 999.0

        while behind() >= normal and time.monotonic() < deadline:
            time.sleep(0.1)
        return time.time() - since

    def wait_for_rows(self, rows: int, within: float = PATIENCE) -> int:
        """Return as soon as `events` has so many rows; how many it has."""
        return eventually(self.rows, lambda found: found >= rows, within=within, every=0.01)

    def rows(self) -> int:
        """Rows of `events`, repetitions included."""
        return int(self.warehouse.query("SELECT count() AS n FROM events")[0]["n"])

    def _boot(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        advertised = 0
        if "kafka" in self._proxied:
            advertised = free_ports(1)[0]
        self._start_warehouse()
        self.broker = open_kafka(self.kind, self.folder, config=self._broker_config, advertised=advertised)
        kafka, house = self.broker.url, f"http://127.0.0.1:{self._house_port}"
        if advertised:
            self.proxies["kafka"] = Proxy("127.0.0.1", self.broker.port, listen=advertised)
            kafka = self.proxies["kafka"].address
        if "warehouse" in self._proxied:
            self.proxies["warehouse"] = Proxy("127.0.0.1", self._house_port)
            house = self.proxies["warehouse"].url
        if "collector" in self._proxied:
            self.proxies["collector"] = Proxy("127.0.0.1", self._ports["collector-1"])
        self._kafka, self._house = kafka, house
        self.settings = self._settings()
        self.warehouse = Warehouse(f"http://127.0.0.1:{self._house_port}")
        for name in self._names:
            self._add(name, self._plants.get(name, self._plants.get(name.split("-")[0], "")), {})
        self.start(*self._names, ready=False)
        self.wait_ready("warehouse")
        create_all_topics(self.settings, SystemClock())
        migrate_tables(self.settings, SystemClock())
        for name in self._names:
            self.wait_ready(name)
        self.wait_assigned()

    def _start_warehouse(self) -> None:
        words = ("warehouse", "--data-dir", str(self._house_data), "--port", str(self._house_port))
        environment = {"HEADRACE_DATA_DIR": str(self.folder)}
        through = _through(self._plants.get("warehouse", ""))
        self.processes["warehouse"] = HeadraceProcess(words, environment, self.folder / "warehouse.log", through)
        self.processes["warehouse"].start()

    def _settings(self) -> Settings:
        collectors = [f"http://127.0.0.1:{port}" for name, port in self._ports.items() if "collector" in name]
        return load(
            {
                "HEADRACE_DATA_DIR": str(self.folder),
                "HEADRACE_DEV_KEYS": "true",
                "HEADRACE_KAFKA_BOOTSTRAP": self._kafka,
                "HEADRACE_KAFKA_REPLICATION": str(self.broker.replication),
                "HEADRACE_KAFKA_SESSION_TIMEOUT": "3",
                "HEADRACE_WAREHOUSE_URL": self._house,
                "HEADRACE_WATCHER_COLLECTORS": ",".join(collectors),
                "HEADRACE_WATCHER_CHURN_SECONDS": "3600",
                "HEADRACE_WATCHER_SEGMENTS": "false",  # the oracle knows what clients sent, and nothing else
                "HEADRACE_WATCHER_OPERATOR_TENANT": "operator",
                "HEADRACE_WORKER_USER_FLUSH_SECONDS": "1",
                **{f"HEADRACE_{name}": value for name, value in self._more.items()},
            }
        )

    def _add(self, name: str, plant: str, settings: Mapping[str, str]) -> None:
        port = str(self._ports[name])
        words: Sequence[str] = {
            "collector": ("collect", "--port", port),
            "worker": ("process", "--role", "events", "--metrics-port", port),
            "watcher": ("process", "--role", "watch", "--metrics-port", port),
            "api": ("serve", "--port", port),
        }[name.split("-", maxsplit=1)[0]]
        environment = {**to_environment(self.settings), **{f"HEADRACE_{key}": text for key, text in settings.items()}}
        self.processes[name] = HeadraceProcess(words, environment, self.folder / f"{name}.log", _through(plant))

    def _answers(self, name: str) -> bool:
        if name == "warehouse":
            return warehouse.ping(self._house_port)
        path = "/metrics" if name.startswith(("worker", "watcher")) else "/health/ready"
        try:
            return httpx.get(f"http://127.0.0.1:{self._ports[name]}{path}", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def _tell_ends(self) -> None:
        for name, process in self.processes.items():
            print(f"\n--- {name}: {'runs' if process.alive else process.status}\n{tail(process.log, 15)}")


def _through(plant: str) -> Sequence[str]:
    return ("-m", RUNNER, plant, "--") if plant else CLI
