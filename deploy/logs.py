"""How processes log: one line an entry on standard error, times in UTC."""

from __future__ import annotations

import logging
import time


def configure(level: str, name: str) -> None:
    """Set up logging of a process called `name`."""
    formatter = logging.Formatter(f"%(asctime)s.%(msecs)03dZ {name} %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in (
        "httpx",
        "httpcore",
        "urllib3",
        "clickhouse_connect",
        "aiokafka",
        "kafka",
        "faust",
        "mode",
        "asyncio",
    ):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))
