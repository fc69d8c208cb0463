"""The embedded warehouse: chdb behind the ClickHouse HTTP interface, on one port of this machine.

In a test or a script, one call gives a running server, and its end of life:

    from deploy.embedded import warehouse
    handle = warehouse.start_process(tmp_path / "warehouse")     # a free port; or port=...
    ...  # handle.url is "http://127.0.0.1:PORT"; clickhouse_connect.get_client(host="127.0.0.1", port=handle.port)
    handle.stop()                                                # running inserts finish; handle.kill() is a crash

The data stays in the directory; a second server on the same directory is refused with a clear error.
"""

from __future__ import annotations

import argparse
import http.client
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.embedded.process import ServerHandle, free_port, spawn, wait_until
from deploy.embedded.space import wait_for_room
from deploy.signals import end_cleanly
from schemas.clock import Clock, SystemClock
from schemas.errors import Fatal

if TYPE_CHECKING:
    from deploy.embedded.door import Limits

DEFAULT_MEMORY_MB = 2048


def start_process(
    data_dir: Path,
    port: int = 0,
    *,
    log_path: Path | None = None,
    memory_mb: int = DEFAULT_MEMORY_MB,
    timeout: float = 60.0,
    clock: Clock | None = None,
) -> ServerHandle:
    """Start a warehouse over `data_dir` on `port` (0: a free one) and wait until it answers.

    `log_path`: where its output goes (default: `warehouse.log` beside the data). It dies with the calling thread.
    Raises Fatal, with the end of the log, when it cannot start.
    """
    clock = clock or SystemClock()
    port = port or free_port()
    data_dir.mkdir(parents=True, exist_ok=True)
    log_path = log_path or data_dir.with_name(data_dir.name + ".log")
    process = spawn(command(data_dir, port, memory_mb=memory_mb), log_path)
    wait_until(lambda: ping(port), process, log_path, timeout, clock)
    return ServerHandle(process, f"http://127.0.0.1:{port}", port, log_path, clock)


def command(data_dir: Path, port: int, *, memory_mb: int = DEFAULT_MEMORY_MB) -> list[str]:
    """The command line of a warehouse process."""
    options = ["--data-dir", str(data_dir), "--port", str(port), "--memory-mb", str(memory_mb)]
    return [sys.executable, "-m", "deploy.embedded.warehouse", *options]


def ping(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a warehouse answers on `port`."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def serve(
    data_dir: Path,
    port: int,
    *,
    host: str = "127.0.0.1",
    memory_mb: int = DEFAULT_MEMORY_MB,
    password: str = "",
    limits: Limits | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; running statements finish first. `memory_mb` bounds the engine, in MiB.

    It waits for room on its disk before it opens the data.

    Raises Fatal when the directory is in use, the port is taken, or `host` is not loopback and there is no password.
    """
    loopback = host in ("127.0.0.1", "localhost", "::1")
    if not loopback and not password:
        raise Fatal(
            f"the warehouse on {host} would be open to the network: set HEADRACE_WAREHOUSE_PASSWORD, or use 127.0.0.1"
        )
    import uvicorn

    from deploy.embedded.door import Door, Limits
    from deploy.embedded.engine import Engine

    end_cleanly()
    data_dir.mkdir(parents=True, exist_ok=True)
    wait_for_room(data_dir, SystemClock())
    engine = Engine(data_dir, memory_bytes=memory_mb << 20)
    door = Door(engine, limits=limits or Limits(), password=password, loopback=loopback)
    config = uvicorn.Config(
        door,
        host=host,
        port=port,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=30,
        backlog=512,
    )
    logging.getLogger("headrace.warehouse").info("ClickHouse %s in %s on %s:%d", engine.version, data_dir, host, port)
    try:
        uvicorn.Server(config).run()
    finally:
        door.close()
        engine.close()


def main() -> None:
    """`python -m deploy.embedded.warehouse --data-dir DIR --port N`."""
    parser = argparse.ArgumentParser(description="The embedded warehouse")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--memory-mb", type=int, default=DEFAULT_MEMORY_MB)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        serve(options.data_dir, options.port, memory_mb=options.memory_mb)
    except Fatal as error:
        sys.exit(f"headrace warehouse: {error}")


if __name__ == "__main__":
    main()
