"""Kafka by kind, for tests: `tansu`, `apache` (one node), `apache3` (three nodes), `container` (Docker).

    server = open_kafka("apache3", tmp_path)       # or the fixture `kafka`, which gives the kinds of this run
    ... server.url, server.replication ...
    server.kill(); server.start()                   # a crash of all of it, and its return on the same addresses
    server.cluster.node(leader(server.url, "topic")).kill()   # apache kinds: one node
    server.stop()

`missing(kind)` says why a kind cannot run on this machine; `need(kind, config)` skips the test with that reason, or
fails it when the run requires the kind (`--require kafka`, `--require docker`).
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded import broker, kafka
from deploy.embedded.process import ServerHandle, free_port, spawn, wait_until
from schemas.clock import SystemClock
from schemas.errors import Fatal

KINDS = ("tansu", "apache", "apache3", "container")
CORE = ("tansu", "apache")
"""What the tests of the pipeline's core run on when nothing else is asked for."""
NODES = {"apache": 1, "apache3": 3}
REQUIRED_BY = {"apache": "kafka", "apache3": "kafka", "container": "docker"}
START_SECONDS = 240.0
"""That Java may take to start Kafka on a machine where everything else is tested, too."""
COMPOSE = Path(__file__).parents[1] / "deploy" / "compose" / "compose.yaml"


@dataclass
class KafkaServer:
    """A Kafka of some kind. `durable`: topics and offsets are there again after `kill` and `start`.

    `replication`: replicas that its topics can have. `cluster`: the nodes, for the apache kinds.
    """

    kind: str
    url: str
    replication: int
    durable: bool
    cluster: kafka.Cluster | None = None
    _tansu: ServerHandle | None = None
    _container: Any = None
    _advertised: int = 0

    @property
    def port(self) -> int:
        """Of the first node."""
        return int(self.url.split(",")[0].rsplit(":", 1)[1])

    def start(self) -> None:
        """After `stop` or `kill`: the same addresses; with `durable` the same data, else nothing."""
        if self.cluster is not None:
            self.cluster.start(START_SECONDS)
        elif self._container is not None:
            self._container.get_wrapped_container().start()
            _await_port(self.port)
        elif self._tansu is not None:
            self._tansu = _start_tansu(self._tansu.log_path, self._tansu.port, self._advertised)

    def stop(self) -> None:
        """SIGTERM."""
        if self.cluster is not None:
            self.cluster.stop()
        elif self._container is not None:
            self._container.get_wrapped_container().stop()
        elif self._tansu is not None:
            self._tansu.stop()

    def kill(self) -> None:
        """SIGKILL, to all nodes at once."""
        if self.cluster is not None:
            self.cluster.kill()
        elif self._container is not None:
            self._container.get_wrapped_container().kill()
        elif self._tansu is not None:
            self._tansu.kill()

    def close(self) -> None:
        """End it for good, fast: what it holds is not needed any more."""
        self.kill()
        if self._container is not None:
            self._container.stop()


def open_kafka(kind: str, folder: Path, *, config: Mapping[str, str] | None = None, advertised: int = 0) -> KafkaServer:
    """Start a Kafka with its data and logs in `folder`. `config`: lines of server.properties, for the apache kinds.

    `advertised`: the loopback port that clients are sent to, of a proxy in front of it; its own when 0. One node only.
    """
    if advertised:
        config = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{advertised}", **(config or {})}
    if kind in NODES:
        cluster = kafka.start_cluster(folder / "kafka", NODES[kind], config=config, timeout=START_SECONDS)
        return KafkaServer(kind, cluster.bootstrap, cluster.replication, True, cluster)
    if kind == "container":
        container, port = _container()
        return KafkaServer(kind, f"127.0.0.1:{port}", 1, True, _container=container)
    handle = _start_tansu(folder / "broker.log", free_port(), advertised)
    return KafkaServer(kind, handle.url, 1, False, _tansu=handle, _advertised=advertised)


def _start_tansu(log_path: Path | None, port: int, advertised: int) -> ServerHandle:
    if not advertised:
        return broker.start_process(port, log_path=log_path)
    words = broker.command(port)
    words[words.index("--advertised-listener-url") + 1] = f"tcp://127.0.0.1:{advertised}"
    process = spawn(words, log_path, env=broker.environment())
    wait_until(lambda: broker.answers(port), process, log_path, 30.0, SystemClock())
    return ServerHandle(process, f"127.0.0.1:{port}", port, log_path)


@functools.cache
def missing(kind: str) -> str:
    """Why this machine cannot run a kind; "" when it can. Fetches Apache Kafka, so that a network away is seen here."""
    if kind == "container":
        return _no_docker()
    if kind not in NODES:
        return ""
    try:
        kafka.find_program(print)
    except Fatal as error:
        return str(error)
    return ""


def need(kind: str, config: pytest.Config) -> None:
    """Skip the test when the kind cannot run here, or fail it when the run requires it."""
    reason = missing(kind)
    if reason and REQUIRED_BY[kind] in config.getoption("require"):
        pytest.fail(f"this run requires {REQUIRED_BY[kind]}: {reason}", pytrace=False)
    if reason:
        pytest.skip(f"{kind}: {reason}")


def kinds(config: pytest.Config) -> tuple[str, ...]:
    """The kinds that this run asks for with `--broker`; those of the core when it asks for none."""
    asked = config.getoption("broker")
    return tuple(dict.fromkeys(asked)) if asked else CORE


def up_kind(config: pytest.Config) -> str:
    """The broker of `headrace up` in this run: the first that is asked for, with one node."""
    asked = config.getoption("broker")
    return "apache" if asked and asked[0] in NODES else "tansu"


def leader(url: str, topic: str, partition: int = 0) -> int:
    """Node id of a partition's leader, -1 while there is none."""
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": url, "log_level": 0})
    return int(admin.list_topics(topic, timeout=10).topics[topic].partitions[partition].leader)


def _no_docker() -> str:
    docker = shutil.which("docker")
    if docker is None:
        return "there is no Docker here"
    done = subprocess.run([docker, "version"], capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else "no Docker engine answers here"


def _container() -> tuple[Any, int]:
    """The Kafka of compose.yaml, on a port of ours that it advertises."""
    from testcontainers.core.container import DockerContainer

    port = free_port()
    container = DockerContainer(compose_image()).with_bind_ports(9092, port)
    for name, value in container_environment(port).items():
        container = container.with_env(name, value)
    container.start()
    _await_port(port)
    return container, port


def compose_image() -> str:
    """The image that compose.yaml names."""
    found = re.search(r"image: (apache/kafka:\S+)", COMPOSE.read_text(encoding="utf-8"))
    assert found
    return found[1]


def container_environment(port: int) -> dict[str, str]:
    """The variables of compose.yaml, with addresses for a client outside."""
    import yaml

    service = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]["kafka"]
    addresses = {
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@127.0.0.1:9093",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    }
    return {**service["environment"], **addresses}


def _await_port(port: int) -> None:
    from tests.e2e.doors import eventually

    eventually(lambda: broker.answers(port), every=0.2)
