"""Bringing tables and topics to this version; `headrace migrate` and `headrace up` both call it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from schemas.clock import Clock
from schemas.errors import Fatal, Retryable
from schemas.taxonomy import extra_columns, shipped_packs
from schemas.topics import topics

if TYPE_CHECKING:
    from deploy.settings import Settings

log = logging.getLogger("headrace.migrate")


def migrate_tables(
    settings: Settings, clock: Clock, *, dry_run: bool = False, tell: Callable[[str], None] = lambda line: None
) -> list[str]:
    """Apply what is missing to the warehouse; the names of what was (or in a dry run, would be) applied.

    Raises what `sinks.migrate.migrate` raises.
    """
    from sinks.migrate import migrate
    from sinks.warehouse import Warehouse

    warehouse = Warehouse(settings.warehouse)
    try:
        columns = {name: extra_columns(pack) for name, pack in shipped_packs().items()}
        return migrate(warehouse, clock, columns, dry_run=dry_run, tell=tell).done
    finally:
        warehouse.close()


def create_all_topics(settings: Settings, clock: Clock, timeout: float = 30.0) -> list[str]:
    """Create the topics that are missing; their names. Raises what `create_topics` raises."""
    from deploy.kafka_admin import create_topics

    kafka = settings.kafka
    return create_topics(
        kafka.bootstrap, topics(kafka.partitions), replication=kafka.replication, timeout=timeout, clock=clock
    )


def grow_all_topics(settings: Settings, clock: Clock, timeout: float = 30.0) -> None:
    """Give the event path's topics the partitions that the settings ask for.

    Users change their partition by it, so nothing may wait that was laid out before. Raises Fatal while records are
    unread; and what `grow_topics` raises.
    """
    from deploy.kafka_admin import grow_topics, lag
    from deploy.parts import CONSUMED, group_of

    kafka = settings.kafka
    waiting = sum(lag(kafka.bootstrap, group_of(settings, "events"), CONSUMED["events"]).values())
    if waiting:
        raise Fatal(
            f"{waiting} records wait for the workers. Stop the collectors, let workers with the old "
            "HEADRACE_KAFKA_PARTITIONS read everything, stop them, and try again"
        )
    grow_topics(kafka.bootstrap, topics(kafka.partitions), timeout=timeout, clock=clock)


def wait_until_migrated(settings: Settings, clock: Clock, timeout: float = 120.0) -> None:
    """Block until the tables are those of this version. Raises Fatal when nobody migrates within `timeout` seconds."""

    def missing() -> str:
        try:
            names = migrate_tables(settings, clock, dry_run=True)
        except Retryable as error:
            return str(error)
        return f"tables are missing: {', '.join(names)}" if names else ""

    _wait(missing, clock, timeout)


def wait_until_topics(settings: Settings, clock: Clock, timeout: float = 120.0) -> None:
    """Block until Kafka answers and has every topic. Raises Fatal when that does not come within `timeout` seconds.

    Faust gives up at once when it cannot reach Kafka, and reads nothing of a topic that is made later.
    """
    from deploy.kafka_admin import partitions

    wanted = topics(settings.kafka.partitions)

    def missing() -> str:
        found = partitions(settings.kafka.bootstrap, wanted, timeout=2.0)
        if found is None:
            return f"Kafka at {settings.kafka.bootstrap} does not answer"
        absent = [topic.name for topic in wanted if not found.get(topic.name)]
        return f"topics are missing: {', '.join(absent)}" if absent else ""

    _wait(missing, clock, timeout)


def _wait(missing: Callable[[], str], clock: Clock, timeout: float) -> None:
    """Ask what is missing until it is nothing; say it once. Raises Fatal with it after `timeout` seconds."""
    deadline = clock.monotonic() + timeout
    told = False
    while why := missing():
        if clock.monotonic() > deadline:
            raise Fatal(f"{why}; run `headrace migrate`")
        if not told:
            told = True
            log.info("waiting: %s", why)
        clock.sleep(0.1)
