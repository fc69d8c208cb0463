"""Real Apache Kafka: what it holds survives a crash, one node of three may die, and what is missing is said."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from deploy.embedded import kafka
from deploy.embedded.kafka.layout import members
from deploy.kafka_admin import create_topics
from schemas.errors import Fatal
from schemas.topics import Topic
from tests.e2e.doors import eventually
from tests.kafka_servers import KafkaServer, leader, need, open_kafka

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("apache")]

TOPIC = "kept"


@pytest.fixture(scope="module")
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, KafkaServer]]:
    """Kafka of one node and of three, each started when it is first asked for."""
    opened = _Opened(request.config, tmp_path_factory)
    yield opened
    for server in opened.values():
        server.close()


class _Opened(dict[str, KafkaServer]):
    def __init__(self, config: pytest.Config, folders: pytest.TempPathFactory) -> None:
        super().__init__()
        self._config, self._folders = config, folders

    def __missing__(self, kind: str) -> KafkaServer:
        need(kind, self._config)
        self[kind] = open_kafka(kind, self._folders.mktemp(kind))
        return self[kind]


class Sender:
    """Produces numbered records, waiting for all replicas, and remembers which were acknowledged."""

    def __init__(self, url: str, topic: str, seconds: float = 60) -> None:
        self.acknowledged: list[int] = []
        self.problems: list[KafkaError] = []
        self._topic = topic
        self._producer = Producer(
            {
                "bootstrap.servers": url,
                "enable.idempotence": True,
                "message.timeout.ms": int(seconds * 1000),
                "linger.ms": 5,
                "log_level": 0,
            }
        )

    def send(self, number: int) -> None:
        def report(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self.acknowledged.append(number)
            else:
                self.problems.append(error)

        self._producer.produce(self._topic, b"%d" % number, partition=0, on_delivery=report)
        self._producer.poll(0)

    def finish(self) -> None:
        assert self._producer.flush(90) == 0


def read(url: str, topic: str, count: int) -> list[int]:
    """The numbers in a topic, in order, once there are so many."""
    consumer = Consumer({"bootstrap.servers": url, "group.id": "reader", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[int] = []
    deadline = time.monotonic() + 60
    while len(found) < count and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            value = message.value()
            assert value is not None
            found.append(int(value))
    consumer.close()
    return found


@pytest.mark.parametrize("kind", ["apache", "apache3"])
def test_what_was_acknowledged_is_there_after_kill_9_of_every_node(
    servers: Mapping[str, KafkaServer], kind: str
) -> None:
    server = servers[kind]
    create_topics(server.url, [Topic(TOPIC, 1)], replication=server.replication)
    sender = Sender(server.url, TOPIC)
    for number in range(1000):
        sender.send(number)
    sender.finish()
    assert sender.acknowledged == list(range(1000))
    server.kill()
    assert server.cluster is not None
    assert not any(members(node.place.port) for node in server.cluster.nodes)
    server.start()
    assert read(server.url, TOPIC, 1000) == list(range(1000))


def test_three_nodes_go_on_without_the_leader_and_lose_nothing(servers: Mapping[str, KafkaServer]) -> None:
    server = servers["apache3"]
    assert server.cluster is not None
    create_topics(server.url, [Topic("led", 1)], replication=3)
    sender = Sender(server.url, "led")
    killed = 0
    for number in range(3000):
        sender.send(number)
        time.sleep(0.002)
        if number == 500:
            killed = leader(server.url, "led")
            server.cluster.node(killed).kill()
    sender.finish()
    assert sender.problems == []
    assert sender.acknowledged == list(range(3000))
    assert leader(server.url, "led") not in (-1, killed)
    server.cluster.node(killed).start()
    assert read(server.url, "led", 3000) == list(range(3000))
    eventually(lambda: len(_in_sync(server.url, "led")), lambda count: count == 3)


def test_without_a_majority_nothing_is_acknowledged_and_it_goes_on_with_one(
    servers: Mapping[str, KafkaServer],
) -> None:
    server = servers["apache3"]
    assert server.cluster is not None
    create_topics(server.url, [Topic("majority", 1)], replication=3)
    last = server.cluster.node(leader(server.url, "majority"))
    others = [node for node in server.cluster.nodes if node is not last]
    for node in others:
        node.kill()
    sender = Sender(server.url, "majority")
    sender.send(0)
    time.sleep(5)
    assert sender.acknowledged == []
    for node in others:
        node.launch()
    sender.finish()
    assert sender.acknowledged == [0]
    for node in server.cluster.nodes:
        node.wait()


def _in_sync(url: str, topic: str) -> list[int]:
    admin = AdminClient({"bootstrap.servers": url, "log_level": 0})
    return list(admin.list_topics(topic, timeout=10).topics[topic].partitions[0].isrs)


def test_a_replicated_topic_asks_for_a_majority_whatever_the_brokers_default(
    servers: Mapping[str, KafkaServer],
) -> None:
    server = servers["apache3"]
    create_topics(server.url, [Topic("asked", 1)], replication=3)
    admin = AdminClient({"bootstrap.servers": server.url, "log_level": 0})
    ((_, future),) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, "asked")]).items()
    entry = future.result()["min.insync.replicas"]
    assert (entry.value, entry.is_default) == ("2", False)


def test_a_node_stops_on_sigterm_and_comes_back_on_its_port(servers: Mapping[str, KafkaServer]) -> None:
    cluster = servers["apache"].cluster
    assert cluster is not None
    (node,) = cluster.nodes
    port, pid = node.place.port, node.pid
    assert node.stop() == 143, "it did not end by itself"
    assert node.pid is None and not node.running
    node.start()
    assert node.place.port == port and node.pid not in (None, pid)
    assert members(port) == {1}
    assert "shut down completely" in node.log_path.read_text(encoding="utf-8")


def test_a_node_that_cannot_start_says_why(servers: Mapping[str, KafkaServer], tmp_path: Path) -> None:
    cluster = servers["apache"].cluster
    assert cluster is not None
    taken = cluster.nodes[0].place.port
    with pytest.raises(Fatal, match=f"cannot listen on 127.0.0.1:{taken}: Address already in use"):
        kafka.start_cluster(tmp_path / "kafka", ports=(taken,))
    with pytest.raises(Fatal, match=r"(?s)exit code 1.*log.retention.hours"):
        kafka.start_cluster(tmp_path / "kafka", config={"log.retention.hours": "soon"})


def test_a_folder_keeps_the_number_of_its_nodes(tmp_path: Path) -> None:
    (tmp_path / "node-1").mkdir()
    assert len(kafka.plan(tmp_path).places) == 1
    with pytest.raises(Fatal, match=r"holds a Kafka of 1 node.*ask for 1"):
        kafka.plan(tmp_path, 3)
    for wrong in ({"nodes": 2}, {"nodes": 3, "ports": (1, 2)}, {"log_dirs": (tmp_path, tmp_path)}):
        with pytest.raises(Fatal, match="1 or 3 nodes"):
            kafka.plan(tmp_path / "new", **wrong)  # type: ignore[arg-type]


def test_nodes_die_with_the_process_that_started_them(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    need("apache", request.config)
    code = (
        "import sys; from pathlib import Path; from deploy.embedded import kafka\n"
        "cluster = kafka.start_cluster(Path(sys.argv[1]))\n"
        "print(cluster.nodes[0].place.port, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None and parent.stdin is not None
    port = int(parent.stdout.readline())
    assert members(port) == {1}
    parent.kill()
    parent.wait()
    parent.stdout.close()
    parent.stdin.close()
    eventually(lambda: members(port), lambda found: found == set(), within=10)
