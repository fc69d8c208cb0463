"""`headrace broker`: the embedded broker alone, until SIGTERM. It replaces this process."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def broker(
    port: Annotated[int, typer.Option("--port", help="Port of the Kafka protocol.")] = 9092,
    host: Annotated[str, typer.Option("--host", help="Address to listen on and to advertise.")] = "127.0.0.1",
) -> None:
    """Speak Kafka protocol, in memory: what it holds is gone when it ends. `headrace migrate` makes the topics."""
    from deploy.embedded.broker import command, environment

    words = command(port, host=host)
    os.execve(words[0], words, environment())  # noqa: S606 - a fixed program
