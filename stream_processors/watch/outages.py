"""Says once that something cannot be asked, and once that it can be again."""

from __future__ import annotations

import logging
from typing import Final

log = logging.getLogger("headrace.watcher")

PATIENCE: Final = 2
"""Failures in a row before a word is said: one missed look is a restart, or a start in another order."""


class Outages:
    """By name of what is asked. Not thread-safe; each background work has its own."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}

    def failed(self, what: str, why: object) -> None:
        """It could not be asked."""
        self._failures[what] = failures = self._failures.get(what, 0) + 1
        if failures == PATIENCE:
            log.warning("%s cannot be read, and alert rules about it wait: %s", what, why)

    def answered(self, what: str) -> None:
        """It could be asked."""
        if self._failures.pop(what, 0) >= PATIENCE:
            log.info("%s can be read again", what)
