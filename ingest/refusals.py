"""Whole requests that are not taken, and what the client is told. Single bad events are verdicts, not refusals."""

from __future__ import annotations

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


def unreadable(message: str) -> Refusal:
    """400: the body is not what it says it is."""
    return Refusal(400, "unreadable_body", message)


def too_large(message: str) -> Refusal:
    """413: send less at a time."""
    return Refusal(413, "too_large", message)
