"""A running cluster, and each of its nodes to be stopped, killed and started again on the same ports and data."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from deploy.embedded.kafka.layout import HEAP_MB, Layout, Place, check_free, command, environment, is_up, plan, prepare
from deploy.embedded.kafka.program import Program, Tell, find_program
from deploy.embedded.process import spawn, wait_until
from schemas.clock import Clock, SystemClock
from schemas.errors import Fatal

log = logging.getLogger("headrace.kafka")

START_SECONDS = 60.0
GRACE_SECONDS = 20.0


class Node:
    """One node's process. It dies with the thread that started it."""

    def __init__(self, place: Place, command: Sequence[str], clock: Clock) -> None:
        self.place = place
        self._command, self._clock = command, clock
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def number(self) -> int:
        """Its node id: 1, 2, 3."""
        return self.place.number

    @property
    def url(self) -> str:
        """host:port of this node alone."""
        return f"{self.place.host}:{self.place.port}"

    @property
    def log_path(self) -> Path:
        """What it writes, of all its lives."""
        return self.place.log_path

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start the process and return at once. Raises Fatal when one of its ports is taken."""
        if not self.running:
            check_free(self.place)
            self._process = spawn(self._command, self.log_path, environment())

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start it and wait until it is part of the cluster: it needs a majority of the nodes for that.

        Raises Fatal, with the end of its log, when it ends or `timeout` seconds pass.
        """
        self.launch()
        self.wait(timeout)

    def wait(self, timeout: float = START_SECONDS) -> None:
        """Wait until it is part of the cluster. Raises Fatal as `start` does."""
        if self._process is None:
            raise Fatal(f"node {self.number} was not started")
        wait_until(lambda: is_up(self.place), self._process, self.log_path, timeout, self._clock)

    def stop(self, grace: float = GRACE_SECONDS) -> int:
        """SIGTERM, and SIGKILL after `grace` seconds; the exit status (143 is Java's after a SIGTERM)."""
        self.terminate()
        return self.reap(grace)

    def terminate(self) -> None:
        """SIGTERM; returns at once."""
        if self._process is not None and self.running:
            self._process.terminate()

    def reap(self, grace: float = GRACE_SECONDS) -> int:
        """Wait for the end, at most `grace` seconds, then SIGKILL; the exit status."""
        if self._process is None:
            return 0
        try:
            return self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def kill(self) -> None:
        """SIGKILL: a crash. Gone when this returns."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self, timeout: float = START_SECONDS) -> None:
        """`stop`, if it runs, and `start`."""
        self.stop()
        self.start(timeout)


class Cluster:
    """All nodes. Any of its methods may be called in any state; a context manager that stops it."""

    def __init__(self, layout: Layout, program: Program, *, heap_mb: int = HEAP_MB, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self.layout = layout
        self.nodes = tuple(Node(place, command(layout, place, program, heap_mb), clock) for place in layout.places)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """Every node's host:port, comma separated, for bootstrap.servers."""
        return self.layout.bootstrap

    @property
    def url(self) -> str:
        """The same, under the name that the other embedded servers have for it."""
        return self.bootstrap

    @property
    def replication(self) -> int:
        """Replicas that a topic can have here: 1 or 3."""
        return len(self.nodes)

    def node(self, number: int) -> Node:
        """The node with this id, as leaders are named in Kafka's answers."""
        return self.nodes[number - 1]

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start the nodes that do not run, and wait until all take part. Raises Fatal as `Node.start` does."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait(timeout)

    def stop(self, grace: float = GRACE_SECONDS) -> None:
        """SIGTERM to all at once, SIGKILL after `grace` seconds to those that wait for others that are gone."""
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            node.reap(grace)

    def kill(self) -> None:
        """SIGKILL to all at once: the power is cut, but for what the kernel holds."""
        for node in self.nodes:
            node.kill()

    def restart(self, timeout: float = START_SECONDS) -> None:
        """Stop all, start all: same ports, same data."""
        self.stop()
        self.start(timeout)


def start_cluster(
    data_dir: Path,
    nodes: int = 1,
    *,
    ports: Sequence[int] = (),
    log_dirs: Sequence[Path] = (),
    host: str = "127.0.0.1",
    config: Mapping[str, str] | None = None,
    heap_mb: int = HEAP_MB,
    timeout: float = START_SECONDS,
    clock: Clock | None = None,
    tell: Tell = log.info,
) -> Cluster:
    """Start a cluster of 1 or 3 nodes over `data_dir` and wait until every node takes part.

    `ports`: of the Kafka protocol, one a node (default: free ones). `log_dirs`: where each node's data goes (default:
    below `data_dir`), for example a small file system. `config`: lines of server.properties, over ours. `heap_mb`: of
    each node's Java, MiB. `tell` hears when Maven has to fetch the program first. The nodes die with the calling
    thread. Raises Fatal when the program cannot be had, or, with the end of its log, when a node cannot start.
    """
    program = find_program(tell, clock=clock)
    layout = plan(data_dir, nodes, ports=ports, log_dirs=log_dirs, host=host, config=config)
    prepare(layout, program)
    cluster = Cluster(layout, program, heap_mb=heap_mb, clock=clock)
    try:
        cluster.start(timeout)
    except BaseException:
        cluster.kill()
        raise
    return cluster
