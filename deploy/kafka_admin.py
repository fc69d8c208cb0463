"""Topics: create them, wait for them, and say how far consumers are behind. The only admin client of the project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from schemas.clock import Clock, SystemClock
from schemas.errors import Fatal, Retryable
from schemas.topics import Topic


def create_topics(
    bootstrap: str,
    wanted: Iterable[Topic],
    *,
    replication: int = 1,
    timeout: float = 30.0,
    clock: Clock | None = None,
) -> list[str]:
    """Create the topics that do not exist yet and wait until every one has a leader on every partition.

    A record counts as taken when a majority of the `replication` replicas has it: Kafka's own default is one replica.
    Returns the names that were created. Raises Retryable when the broker does not answer within `timeout` seconds, and
    Fatal when it refuses, or when an existing topic has another number of partitions (slots would change their place).
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    clock = clock or SystemClock()
    topics = {topic.name: topic for topic in wanted}
    admin = AdminClient({"bootstrap.servers": bootstrap, "socket.timeout.ms": 5000, "log_level": 0})
    deadline = clock.monotonic() + timeout
    existing = _partitions(admin, bootstrap, topics, deadline, clock)
    missing = [topic for name, topic in topics.items() if name not in existing]
    if missing:
        durable = {"min.insync.replicas": str(replication // 2 + 1)} if replication > 1 else {}
        requests = [
            NewTopic(t.name, num_partitions=t.partitions, replication_factor=replication, config=durable)
            for t in missing
        ]
        for name, future in admin.create_topics(requests, operation_timeout=10).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                    raise Fatal(f"cannot create topic {name}: {error.args[0].str()}") from error
    while set(topics) - set(existing):
        existing = _partitions(admin, bootstrap, topics, deadline, clock)
    _check(topics, existing)
    return [topic.name for topic in missing]


def _check(topics: Mapping[str, Topic], existing: Mapping[str, int]) -> None:
    for name, topic in topics.items():
        if existing[name] != topic.partitions:
            raise Fatal(
                f"topic {name} has {existing[name]} partitions, the setting HEADRACE_KAFKA_PARTITIONS says "
                f"{topic.partitions}: set it to {existing[name]}, or give the topic more "
                "(`headrace migrate --grow-partitions`; docs/guarantees.md says when)"
            )


def grow_topics(bootstrap: str, wanted: Iterable[Topic], *, timeout: float = 30.0, clock: Clock | None = None) -> None:
    """Give topics the partitions that they lack, and wait until all are led.

    What is there stays where it is: let it be read first. Raises Fatal when Kafka refuses, or when a topic has more.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, NewPartitions

    clock, topics = clock or SystemClock(), {topic.name: topic for topic in wanted}
    admin = AdminClient({"bootstrap.servers": bootstrap, "socket.timeout.ms": 5000, "log_level": 0})
    deadline = clock.monotonic() + timeout
    existing = _partitions(admin, bootstrap, topics, deadline, clock)
    lacking = [
        NewPartitions(name, topics[name].partitions) for name, n in existing.items() if n < topics[name].partitions
    ]
    for name, future in admin.create_partitions(lacking).items() if lacking else ():
        try:
            future.result()
        except KafkaException as error:
            raise Fatal(f"Kafka gives topic {name} no more partitions: {error.args[0].str()}") from error
    while any(existing.get(one.topic, 0) < one.new_total_count for one in lacking):
        if clock.monotonic() > deadline:
            raise Retryable(f"the new partitions are not led after {timeout:.0f} s")
        clock.sleep(0.1)
        existing = _partitions(admin, bootstrap, topics, deadline, clock)
    _check(topics, existing)


def _partitions(
    admin: Any, bootstrap: str, topics: Mapping[str, Topic], deadline: float, clock: Clock
) -> dict[str, int]:
    """Partition counts of those of `topics` that exist and are led; polls until the broker answers."""
    from confluent_kafka import KafkaException

    while True:
        try:
            metadata = admin.list_topics(timeout=2)
            led = {
                name: len(found.partitions)
                for name, found in metadata.topics.items()
                if name in topics and found.partitions and all(p.leader >= 0 for p in found.partitions.values())
            }
            return led
        except KafkaException as error:
            if clock.monotonic() > deadline:
                raise Retryable(f"Kafka at {bootstrap} does not answer: {error.args[0].str()}") from error
            clock.sleep(0.1)


def partitions(bootstrap: str, wanted: Iterable[Topic], *, timeout: float = 3.0) -> dict[str, int] | None:
    """Partition counts of those of `wanted` that exist; None when the broker does not answer within `timeout` s."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap, "socket.timeout.ms": 5000, "log_level": 0})
    try:
        found = admin.list_topics(timeout=timeout).topics
    except KafkaException:
        return None
    return {topic.name: len(found[topic.name].partitions) for topic in wanted if topic.name in found}


def cluster_id(bootstrap: str, *, timeout: float = 10.0) -> str:
    """What this Kafka calls itself, the same on every broker of it. Raises Retryable when it does not answer."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap, "socket.timeout.ms": 5000, "log_level": 0})
    try:
        return str(admin.list_topics(timeout=timeout).cluster_id or "")
    except KafkaException as error:
        raise Retryable(f"Kafka at {bootstrap} does not answer: {error.args[0].str()}") from error


def lag(
    bootstrap: str, group: str, names: Iterable[str], *, timeout: float = 5.0, clock: Clock | None = None
) -> dict[str, int]:
    """Records that `group` has not committed, by topic. Raises Retryable when the broker does not answer."""
    with group_reader(bootstrap, group) as consumer:
        places = places_of(consumer, names, timeout)
        if not places:
            return {}
        limits = ends(consumer, places, timeout, clock or SystemClock())
        found = dict.fromkeys((place.topic for place in places), 0)
        for place in committed(consumer, places, timeout, clock or SystemClock()):
            low, high = limits[place.topic, place.partition]
            found[place.topic] += high - max(place.offset, low)
        return found


@contextmanager
def group_reader(bootstrap: str, group: str, **more: object) -> Iterator[Any]:
    """A consumer that can be asked what `group` has committed; it joins no group and commits nothing.

    `more`: its settings, dots as underscores. What Kafka does not answer inside the block is raised as Retryable.
    """
    from confluent_kafka import Consumer, KafkaException

    settings = {name.replace("_", "."): value for name, value in more.items()}
    # One batch at a time, whatever its size.
    settings |= {"enable.auto.commit": False, "log_level": 0, "fetch.message.max.bytes": 1024}
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, **settings})
    try:
        yield consumer
    except KafkaException as error:
        raise Retryable(f"Kafka at {bootstrap} does not answer: {error.args[0].str()}") from error
    finally:
        consumer.close()


def places_of(consumer: Any, names: Iterable[str], timeout: float) -> list[Any]:
    """The partitions of those of `names` that exist."""
    from confluent_kafka import TopicPartition

    existing = consumer.list_topics(timeout=timeout).topics
    return [TopicPartition(t, number) for t in names if t in existing for number in existing[t].partitions]


def read_from(consumer: Any, offsets: Mapping[tuple[str, int], int]) -> None:
    """Have the next polls give these partitions, each from its offset on."""
    from confluent_kafka import TopicPartition

    consumer.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])


def offsets_at(consumer: Any, places: list[Any], moment: float, timeout: float) -> dict[tuple[str, int], int]:
    """The first record of each partition from a moment (Unix seconds) on; -1 where there is none."""
    from confluent_kafka import TopicPartition

    asked = [TopicPartition(place.topic, place.partition, round(moment * 1000)) for place in places]
    found = consumer.offsets_for_times(asked, timeout=timeout)
    return {(place.topic, place.partition): max(place.offset, -1) for place in found}


def committed(consumer: Any, places: list[Any], timeout: float, clock: Clock) -> list[Any]:
    """What a group has committed."""
    found: list[Any] = _patiently(partial(consumer.committed, places, timeout=timeout), timeout, clock)
    return found


def _patiently(ask: Callable[[], Any], timeout: float, clock: Clock) -> Any:
    """The answer, once who gives it is there: coordinators and leaders are made at first use, and move."""
    from confluent_kafka import KafkaError, KafkaException

    coming = (
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
    )
    deadline = clock.monotonic() + timeout
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in coming or clock.monotonic() > deadline:
                raise
            clock.sleep(0.1)


def ends(consumer: Any, places: list[Any], timeout: float, clock: Clock) -> dict[tuple[str, int], tuple[int, int]]:
    """First and next offset of each partition.

    The embedded broker answers "latest" with the first record of the last batch; what a fetch says is right on every
    broker, so the last record is fetched.
    """
    from confluent_kafka import TopicPartition

    ends = {
        (p.topic, p.partition): _patiently(partial(consumer.get_watermark_offsets, p, timeout=timeout), timeout, clock)
        for p in places
    }
    waiting = {place: TopicPartition(*place, max(low, high - 1)) for place, (low, high) in ends.items() if high > low}
    consumer.assign(list(waiting.values()))
    deadline = clock.monotonic() + timeout
    while waiting:
        consumer.poll(0.05)
        for place in list(waiting):
            high = consumer.get_watermark_offsets(waiting[place], cached=True)[1]
            if high >= ends[place][1]:
                ends[place] = ends[place][0], high
                del waiting[place]
        if clock.monotonic() > deadline:
            raise Retryable(f"Kafka does not give the last record of {', '.join(name for name, _ in waiting)}")
    return ends


def stable_groups(bootstrap: str, groups: Iterable[str]) -> set[str]:
    """Those of `groups` whose members all have their partitions; none when the broker does not answer."""
    from confluent_kafka import ConsumerGroupState, KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap, "socket.timeout.ms": 5000, "log_level": 0})
    found: set[str] = set()
    for name, future in admin.describe_consumer_groups(list(groups), request_timeout=3).items():
        try:
            if future.result().state == ConsumerGroupState.STABLE:
                found.add(name)
        except KafkaException:
            continue
    return found
