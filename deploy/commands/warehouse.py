"""`headrace warehouse`: the embedded warehouse alone, until SIGTERM."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def warehouse(
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder of the data; by default `warehouse` in the data folder.")
    ] = None,
    port: Annotated[int, typer.Option("--port", help="Port of the ClickHouse HTTP interface.")] = 8123,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve the ClickHouse engine over HTTP. Beyond loopback it needs HEADRACE_WAREHOUSE_PASSWORD."""
    from deploy.embedded.warehouse import serve
    from deploy.logs import configure
    from deploy.settings import load

    settings = load()
    configure(settings.log_level, "warehouse")
    serve(
        data_dir or settings.data_dir / "warehouse",
        port,
        host=host,
        memory_mb=settings.embedded.warehouse_memory_mb,
        password=settings.warehouse.password.get_secret_value(),
    )
