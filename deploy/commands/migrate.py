"""`headrace migrate`: tables and topics of this version. Run it as often as you like."""

from __future__ import annotations

from typing import Annotated

import typer


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done to the tables.")] = False,
    topics: Annotated[bool, typer.Option("--topics/--no-topics", help="Create Kafka's topics, too.")] = True,
    grow: Annotated[
        bool,
        typer.Option(
            "--grow-partitions",
            help="Give the topics as many partitions as HEADRACE_KAFKA_PARTITIONS says, once everything is read.",
        ),
    ] = False,
) -> None:
    """Bring the warehouse's tables and Kafka's topics to this version."""
    from deploy.migrations import create_all_topics, grow_all_topics, migrate_tables
    from deploy.settings import load
    from schemas.clock import SystemClock

    settings, clock = load(), SystemClock()
    done = migrate_tables(settings, clock, dry_run=dry_run, tell=typer.echo)
    if not done:
        typer.echo("the tables are up to date")
    if grow and not dry_run:
        grow_all_topics(settings, clock)
        typer.echo(f"the topics of the event path have {settings.kafka.partitions} partitions")
    if topics and not dry_run:
        for name in create_all_topics(settings, clock):
            typer.echo(f"created topic {name}")
