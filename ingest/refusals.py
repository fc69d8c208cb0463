"""Whole requests that are not taken, and what the client is told. Single bad events are verdicts, not refusals."""

from __future__ import annotations

from random import Random

from schemas.errors import HeadraceError, Retryable


class Refusal(HeadraceError):
    """The request is answered with `status` and `{"error": code, "message": message}`.

    `retry_after`: seconds, whole; None where waiting does not help.
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after = retry_after


class Overloaded(Retryable):
    """More is waiting than the limits allow: come back after a moment."""


class Unavailable(Retryable):
    """Kafka has taken nothing for `silent_seconds`, and there is nowhere else to put events."""

    def __init__(self, message: str, silent_seconds: float) -> None:
        super().__init__(message)
        self.silent_seconds = silent_seconds


class Patience:
    """How long a client is asked to wait, in whole seconds, with chance in it so that not all come back at once.

    Overloaded: once to twice `least`. Kafka away: also a tenth to a fifth of the time that it has been away, at most
    `most`.
    """

    def __init__(self, least: int, most: int, random: Random) -> None:
        self._least, self._most, self._random = least, most, random

    def seconds(self, error: Exception) -> int:
        """What `Retry-After` says for this error."""
        silent = error.silent_seconds if isinstance(error, Unavailable) else 0.0
        wait = max(float(self._least), min(silent / 10, self._most / 2))
        return round(wait + wait * self._random.random())


def unreadable(message: str) -> Refusal:
    """400: the body is not what it says it is."""
    return Refusal(400, "unreadable_body", message)


def too_large(message: str) -> Refusal:
    """413: send less at a time."""
    return Refusal(413, "too_large", message)
