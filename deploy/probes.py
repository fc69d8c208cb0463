"""What the watcher looks at outside Kafka and the warehouse: pages of metrics over HTTP, and the data folder's disk."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Final

import httpx

from schemas.errors import Retryable
from stream_processors.ports import Disk

TIMEOUT: Final = 3.0
MOST_BYTES: Final = 8 << 20


class Pages:
    """Pages of metrics. Keeps connections; no proxy, no redirects, `most_bytes` at most."""

    def __init__(self, timeout: float = TIMEOUT, most_bytes: int = MOST_BYTES) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it would tell of every look
        self._http = httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False)
        self._most = most_bytes

    def text(self, url: str) -> str:
        """What is at `url`. Raises Retryable."""
        found = bytearray()
        try:
            with self._http.stream("GET", url) as answer:
                if answer.status_code != 200:
                    raise Retryable(f"it answers {answer.status_code}, not 200")
                for piece in answer.iter_bytes():
                    found += piece
                    if len(found) > self._most:
                        raise Retryable(f"its page has over {self._most} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Retryable(f"it does not answer: {type(error).__name__}") from error
        return found.decode("utf-8", "replace")

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()


class DataDisk:
    """The disk of the data folder, or of the nearest folder above it that exists."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def disk(self) -> Disk:
        """Total and free bytes. Raises Retryable."""
        place = next((one for one in (self._folder, *self._folder.parents) if one.exists()), self._folder)
        try:
            usage = shutil.disk_usage(place)
        except OSError as error:
            raise Retryable(f"{place}: {error.strerror}") from error
        return Disk("data folder", str(self._folder), usage.total, usage.free)
