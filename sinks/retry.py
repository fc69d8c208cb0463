"""Trying again: capped exponential back-off with jitter. Time and chance are arguments."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from random import Random
from typing import TypeVar

from schemas.clock import Clock
from schemas.errors import Retryable
from sinks.settings import RetrySettings

T = TypeVar("T")
log = logging.getLogger(__name__)


def waits(settings: RetrySettings, random: Random) -> Iterator[float]:
    """Seconds to wait before the second try, the third, and so on, without end."""
    wait = settings.base_seconds
    while True:
        yield wait * (1.0 - settings.jitter * random.random())
        wait = min(wait * 2.0, settings.cap_seconds)


def with_retries(
    call: Callable[[], T],
    clock: Clock,
    *,
    random: Random | None = None,
    settings: RetrySettings | None = None,
    attempts: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> T:
    """`call()`, again after each `Retryable`, until it returns.

    `attempts`: give up after so many tries (None: never). `stopping`: asked before each wait; true gives up at once, so
    that a process can end while a server is away. Giving up raises the last `Retryable`; other errors pass unchanged.
    """
    pauses = waits(settings or RetrySettings(), random or Random(0))
    tries = 0
    while True:
        tries += 1
        try:
            return call()
        except Retryable as error:
            if stopping() or (attempts is not None and tries >= attempts):
                raise
            pause = next(pauses)
            log.warning("try %d failed, again in %.2f s: %s", tries, pause, error)
            clock.sleep(pause)
