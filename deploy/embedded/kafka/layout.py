"""Where the nodes of a cluster live, and how each is configured. KRaft: every node is broker and controller.

A cluster's folder holds `cluster-id` and, for each node, `node-N/` with `server.properties`, `kafka.log` and `log/`,
the data. Nodes on other ports than last time find each other: only their numbers are in the data.
"""

from __future__ import annotations

import base64
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from deploy.embedded.kafka.program import Program
from deploy.embedded.process import free_ports
from schemas.clock import random_id
from schemas.errors import Fatal

SIZES: Final = (1, 3)
HEAP_MB: Final = 384
_LOOPBACK: Final = "127.0.0.1"
_FORMAT_SECONDS: Final = 120
_METADATA_V1: Final = struct.pack(">hhih3si", 3, 1, 1, 3, b"hdr", 0)
"""A Kafka Metadata request, version 1, for no topic, by client `hdr`."""


@dataclass(frozen=True)
class Place:
    """One node: where it listens, and its folders. `number` counts from 1 and is its node id."""

    number: int
    port: int
    controller_port: int
    folder: Path
    log_dir: Path
    host: str = _LOOPBACK

    @property
    def properties_path(self) -> Path:
        return self.folder / "server.properties"

    @property
    def log_path(self) -> Path:
        return self.folder / "kafka.log"


@dataclass(frozen=True)
class Layout:
    """A whole cluster. `config`: properties of the caller's, over ours."""

    folder: Path
    places: tuple[Place, ...]
    config: Mapping[str, str]

    @property
    def bootstrap(self) -> str:
        """For bootstrap.servers."""
        return ",".join(f"{place.host}:{place.port}" for place in self.places)


def plan(
    folder: Path,
    nodes: int = 1,
    *,
    ports: Sequence[int] = (),
    controller_ports: Sequence[int] = (),
    log_dirs: Sequence[Path] = (),
    host: str = _LOOPBACK,
    config: Mapping[str, str] | None = None,
) -> Layout:
    """Lay out a cluster of `nodes` (1 or 3) in `folder`; nothing is made or started yet.

    `ports`, of the Kafka protocol, and `controller_ports`: one for each node, by default free ones. `log_dirs`: where
    each node's data goes, by default into the folder. Raises Fatal when the folder holds a cluster of another size.
    """
    if nodes not in SIZES or any(len(given) not in (0, nodes) for given in (ports, controller_ports, log_dirs)):
        raise Fatal(f"a Kafka here has 1 or 3 nodes, with a port and a folder for each; asked for {nodes}")
    folder = folder.resolve()
    there = len(list(folder.glob("node-*")))
    if there not in (0, nodes):
        raise Fatal(
            f"{folder} holds a Kafka of {there} node(s), not of {nodes}: ask for {there}, or use another folder"
        )
    free = iter(free_ports(2 * nodes))
    places = []
    for number in range(1, nodes + 1):
        own = folder / f"node-{number}"
        log_dir = log_dirs[number - 1].resolve() if log_dirs else own / "log"
        port = ports[number - 1] if ports else next(free)
        controller_port = controller_ports[number - 1] if controller_ports else next(free)
        places.append(Place(number, port, controller_port, own, log_dir, host))
    return Layout(folder, tuple(places), dict(config or {}))


def prepare(layout: Layout, program: Program) -> None:
    """Write each node's configuration, and format data folders that are new. Raises Fatal with Kafka's words."""
    formatting = []
    for place in layout.places:
        place.folder.mkdir(parents=True, exist_ok=True)
        place.log_dir.mkdir(parents=True, exist_ok=True)
        lines = (f"{name}={value}\n" for name, value in properties(layout, place).items())
        place.properties_path.write_text("".join(lines), encoding="utf-8")
        if not (place.log_dir / "meta.properties").exists():
            name = f"--cluster-id={_cluster_id(layout)}"
            words = ("format", "--ignore-formatted", name, "-c", str(place.properties_path))
            command = program.command("kafka.tools.StorageTool", *words, heap_mb=128)
            formatting.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
                )
            )
    for process in formatting:
        output, _ = process.communicate(timeout=_FORMAT_SECONDS)
        if process.returncode:
            raise Fatal(f"Kafka cannot format its data folder:\n{output[-2000:]}")


def command(layout: Layout, place: Place, program: Program, heap_mb: int = HEAP_MB) -> list[str]:
    """The command line of a node."""
    return program.command("kafka.Kafka", str(place.properties_path), heap_mb=heap_mb)


def environment() -> dict[str, str]:
    """Nothing of ours: Java would take options from it."""
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


def properties(layout: Layout, place: Place) -> dict[str, str]:
    """A node's configuration: Kafka's defaults, but for what one small machine wants otherwise."""
    count = len(layout.places)
    listeners = f"PLAINTEXT://{place.host}:{place.port}"
    ours = {
        "process.roles": "broker,controller",
        "node.id": place.number,
        "controller.quorum.voters": ",".join(f"{p.number}@{_LOOPBACK}:{p.controller_port}" for p in layout.places),
        "listeners": f"{listeners},CONTROLLER://{_LOOPBACK}:{place.controller_port}",
        "advertised.listeners": listeners,
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": place.log_dir,
        # Acknowledged means that a majority has it. Topics come from `headrace migrate` only.
        "default.replication.factor": count,
        "min.insync.replicas": count // 2 + 1,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": count,
        "transaction.state.log.replication.factor": count,
        "transaction.state.log.min.isr": count // 2 + 1,
        "share.coordinator.state.topic.replication.factor": count,
        "share.coordinator.state.topic.min.isr": count // 2 + 1,
        # Few groups and few cores: a quick start instead of head-room.
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.num.partitions": 4,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 2,
        "log.cleaner.dedupe.buffer.size": 4 << 20,
        "group.initial.rebalance.delay.ms": 0,
        # Tests have consumers that are given up after 2 s; ours ask for what their settings say.
        "group.min.session.timeout.ms": 1000,
        # A node that was killed is noticed in 4 s instead of 9.
        "broker.session.timeout.ms": 4000,
        "broker.heartbeat.interval.ms": 500,
    }
    return {name: str(value) for name, value in {**ours, **layout.config}.items()}


def check_free(place: Place) -> None:
    """Raises Fatal when somebody else listens where this node would; else that one's answers would pass for its own."""
    for host, port in ((place.host, place.port), (_LOOPBACK, place.controller_port)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise Fatal(f"Kafka cannot listen on {host}:{port}: {error.strerror}; choose another port") from error


def is_up(place: Place) -> bool:
    """Whether a node answers and is part of its cluster."""
    return place.number in members(place.port, place.host)


def members(port: int, host: str = _LOOPBACK) -> set[int]:
    """Numbers of the nodes that take part, as the node on `port` knows them; none when it does not answer."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection, connection.makefile("rb") as answer:
            connection.sendall(struct.pack(">i", len(_METADATA_V1)) + _METADATA_V1)
            head = answer.read(12)
            return {_member(answer) for _ in range(struct.unpack(">iii", head)[2])} if len(head) == 12 else set()
    except (OSError, struct.error):
        return set()


def _member(answer: BinaryIO) -> int:
    """Read one broker of a metadata response: number, host, port, rack; strings have their length before them."""
    number: int = struct.unpack(">i", answer.read(4))[0]
    answer.read(struct.unpack(">h", answer.read(2))[0] + 4)
    answer.read(max(0, struct.unpack(">h", answer.read(2))[0]))
    return number


def _cluster_id(layout: Layout) -> str:
    """The cluster's name, made once: 22 letters, as Kafka writes a UUID."""
    path = layout.folder / "cluster-id"
    if not path.exists():
        name = base64.urlsafe_b64encode(uuid.UUID(random_id()).bytes).decode().rstrip("=")
        path.write_text(name + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
