"""`headrace serve`: the API and the dashboard, until SIGTERM."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on.")] = None,
) -> None:
    """Answer questions about metrics, users, models and alerts, and serve the dashboard."""
    from deploy.logs import configure
    from deploy.settings import load
    from deploy.signals import end_cleanly

    settings = load(overrides={"serve.host": host, "serve.port": port})
    configure(settings.log_level, "api")
    end_cleanly()
    from deploy.serving import run_api

    run_api(settings)
