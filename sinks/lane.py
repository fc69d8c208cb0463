"""A channel's own bounded queue and thread, so that a slow channel holds up nobody else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, Full, Queue
from random import Random
from typing import Final

from schemas.alerting.channels import Channel
from sinks.message import Message
from sinks.senders import Sender

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 2.0
"""How often an idle lane is asked to catch up on what it could not store."""


@dataclass(frozen=True)
class Target:
    """A declared channel with its sender."""

    name: str
    channel: Channel
    sender: Sender


class Lane:
    """Messages for one target, in order. `deliver` and `idle` run in the lane's thread and must not raise."""

    def __init__(self, target: Target, size: int, random: Random) -> None:
        self.target = target
        self.random = random
        self._queue: Queue[Message | None] = Queue(size)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, deliver: Callable[[Lane, Message], None], idle: Callable[[Lane], None]) -> None:
        """Begin to deliver."""
        name = f"notify-{self.target.name}"
        self._thread = threading.Thread(target=self._run, args=(deliver, idle), name=name, daemon=True)
        self._thread.start()

    def put(self, message: Message) -> bool:
        """Queue a message; false when the queue is full. Never blocks."""
        try:
            self._queue.put_nowait(message)
        except Full:
            return False
        return True

    def stop(self, timeout: float = 1.0) -> None:
        """End after the message that is being delivered; the queue is left as it is."""
        self._stopping.set()
        try:
            self._queue.put_nowait(None)
        except Full:
            log.warning("channel %s stops with a full queue", self.target.name)
        if self._thread is not None:
            self._thread.join(timeout)
            if not self._thread.is_alive():
                self.target.sender.close()

    def _run(self, deliver: Callable[[Lane, Message], None], idle: Callable[[Lane], None]) -> None:
        while not self._stopping.is_set():
            try:
                message = self._queue.get(timeout=IDLE_SECONDS)
            except Empty:
                idle(self)
                continue
            if message is not None and not self._stopping.is_set():
                deliver(self, message)
