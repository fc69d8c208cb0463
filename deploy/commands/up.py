"""`headrace up`: the whole pipeline in the foreground, on embedded servers. Ctrl-C drains, a second one kills."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder of data, keys and logs (default .headrace).")]
CollectorPort = Annotated[int | None, typer.Option("--collector-port", help="Port of the collector (default 8000).")]
ApiPort = Annotated[int | None, typer.Option("--api-port", help="Port of API and dashboard (default 8080).")]
Broker = Annotated[
    str | None,
    typer.Option("--broker", help="tansu: in memory (default). apache: real Kafka on disk; needs Java 17 and Maven."),
]
Workers = Annotated[int | None, typer.Option("--workers", help="Worker processes (default 1).")]


def up(
    data_dir: DataDir = None,
    collector_port: CollectorPort = None,
    api_port: ApiPort = None,
    workers: Workers = None,
    broker: Broker = None,
) -> None:
    """Run broker, warehouse, collector, workers, watcher and API; restart what dies, and say why."""
    from deploy.logs import configure
    from deploy.stack import Stack, local_settings

    settings = local_settings(
        data_dir=data_dir, collector_port=collector_port, api_port=api_port, workers=workers, broker=broker
    )
    configure(settings.log_level, "up")
    stack = Stack(settings)
    stop_on_signals(stack)
    stack.start()
    stack.wait_ready()
    typer.echo(ready_line(stack))
    stack.wait()


def ready_line(stack: Any) -> str:
    """What tells people and scripts that everything works."""
    return f"headrace ready  collector {stack.collector_url}  dashboard {stack.api_url}"


def stop_on_signals(stack: Any) -> None:
    """SIGTERM or SIGINT: drain and stop; another one: kill."""
    seen: list[int] = []

    def handle(number: int, _: object) -> None:
        seen.append(number)
        if len(seen) > 1:
            stack.kill()
        else:
            typer.echo("stopping; once more to kill", err=True)
            stack.request_stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
