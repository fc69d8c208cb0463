"""`headrace broker`: a broker alone, until SIGTERM: the one in memory (it replaces this process), or real Kafka."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def broker(
    port: Annotated[int, typer.Option("--port", help="Port of the Kafka protocol; of the first node.")] = 9092,
    host: Annotated[str, typer.Option("--host", help="Address to listen on and to advertise.")] = "127.0.0.1",
    apache: Annotated[
        bool, typer.Option("--apache", help="Apache Kafka, its data on disk; needs Java 17, and Maven the first time.")
    ] = False,
    nodes: Annotated[int, typer.Option("--nodes", help="With --apache: 1 node, or 3 on ports in a row.")] = 1,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="With --apache: its folder; by default `kafka` in the data folder."),
    ] = None,
) -> None:
    """Speak Kafka protocol, in memory: what it holds is gone when it ends. `headrace migrate` makes the topics.

    With --apache it is real Kafka, and keeps what it holds.
    """
    if apache:
        return _apache(port, host, nodes, data_dir)
    if nodes != 1 or data_dir is not None:
        raise typer.BadParameter("--nodes and --data-dir go with --apache: the broker in memory has neither")
    from deploy.embedded.broker import command, environment

    words = command(port, host=host)
    os.execve(words[0], words, environment())  # noqa: S606 - a fixed program


def _apache(port: int, host: str, nodes: int, data_dir: Path | None) -> None:
    from deploy.embedded import kafka
    from deploy.embedded.kafka.serve import serve
    from deploy.logs import configure
    from deploy.settings import load

    settings = load(join=False)
    configure(settings.log_level, "broker")
    folder = data_dir or settings.data_dir / "kafka"
    layout = kafka.plan(folder, nodes, ports=range(port, port + nodes), host=host)

    def ready() -> None:
        advice = f"; HEADRACE_KAFKA_REPLICATION={nodes} makes use of all of them" if nodes > 1 else ""
        typer.echo(f"kafka ready  bootstrap {layout.bootstrap}  data and logs in {layout.folder}{advice}")

    serve(layout, ready)
