"""`headrace process`: one worker process, until SIGTERM."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Part(StrEnum):
    """What a worker does."""

    EVENTS = "events"
    WATCH = "watch"


def process(
    role: Annotated[Part, typer.Option("--role", help="events: store and count. watch: metrics, models, alerts.")],
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", help="Port of the Prometheus metrics on loopback; 0 is off.")
    ] = None,
    accept_flood: Annotated[
        bool, typer.Option("--accept-flood", help="Let floods of bad messages through, to the dead letters.")
    ] = False,
) -> None:
    """Take events from Kafka into the warehouse, or watch what they say and raise alerts."""
    from deploy.logs import configure
    from deploy.migrations import wait_until_migrated, wait_until_topics
    from deploy.settings import load
    from schemas.clock import SystemClock

    flood = "accept" if accept_flood else None
    settings = load(overrides={"worker.metrics_port": metrics_port, "worker.flood": flood})
    configure(settings.log_level, f"process-{role}")
    if role is Part.EVENTS:
        from deploy.worker import run_worker as run
    else:
        from deploy.watcher import run_watcher as run
    wait_until_migrated(settings, SystemClock())
    wait_until_topics(settings, SystemClock())
    run(settings)
