"""The suite that every sender must pass. A check takes a `Place` and fails with AssertionError.

`test_senders.py` runs it on every sender, and on senders with one planted defect each, which it must catch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from schemas.alerting.incident import Kind
from schemas.errors import HeadraceError, Permanent, Retryable
from sinks.senders import Sender
from tests.sinks.alerts import message

TIMEOUT = 0.5
PATIENCE = 4.0


class Place(Protocol):
    """A sender, and the place it sends to. `answers` is False for a place that cannot refuse or hang."""

    sender: Sender
    secrets: tuple[str, ...]
    answers: bool

    def texts(self) -> list[str]:
        """What arrived, as text."""
        ...

    def behave(self, *script: int | str) -> None:
        """What the place answers next (see `hook_server.Hook.script`)."""
        ...

    def vanish(self) -> None:
        """Take the place off the network."""
        ...


def failure(place: Place, *script: int | str) -> HeadraceError | None:
    """What `send` raises when the place answers like this."""
    place.behave(*script)
    try:
        place.sender.send(message())
    except HeadraceError as error:
        return error
    except Exception as error:
        raise AssertionError(f"raised {type(error).__name__}, of which no caller knows") from error
    return None


def check_says_what_happened(place: Place) -> None:
    place.sender.send(message())
    place.sender.send(message(Kind.RESOLVED))
    assert len(place.texts()) == 2
    raised, resolved = place.texts()
    for word in ("ROAS of c1 is 1.23", "1.23456"[:6]):
        assert word in raised
    assert "critical" in raised.lower()
    assert "resolved" in resolved.lower()


def check_is_bounded_in_tries(place: Place) -> None:
    assert 1 <= place.sender.attempts <= 20


def check_reports_a_refusal(place: Place) -> None:
    for status in (500, 503):
        if place.answers:
            assert isinstance(failure(place, status), Retryable)


def check_one_send_is_one_request(place: Place) -> None:
    """Trying again is for the caller, who counts."""
    if place.answers:
        failure(place, 500, 500, 500)
        assert len(place.texts()) == 1


def check_reports_a_refusal_that_cannot_change(place: Place) -> None:
    if place.answers:
        assert isinstance(failure(place, 404), Retryable | Permanent)


def check_follows_no_redirect(place: Place) -> None:
    if place.answers:
        assert failure(place, "redirect") is not None
        assert len(place.texts()) == 1


def check_gives_up_on_silence(place: Place) -> None:
    if not place.answers:
        return
    found: list[object] = []

    def wait() -> None:
        try:
            found.append(failure(place, "hang"))
        except AssertionError as error:
            found.append(error)

    began = time.monotonic()
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert found, f"still waiting after {time.monotonic() - began:.1f} s"
    assert isinstance(found[0], Retryable)


def check_reports_an_absent_place(place: Place) -> None:
    if place.answers:
        place.vanish()
        assert isinstance(failure(place), Retryable)


def check_hides_secrets(place: Place) -> None:
    """In errors (with their causes, as a log would print them) and in the log."""
    seen: list[str] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        place.sender.send(message())
        for script in (500, 404, "redirect", "hang"):
            error: BaseException | None = failure(place, script) if place.answers else None
            while error is not None:
                seen.append(repr(error))
                error = error.__cause__
        seen.append(repr(place.sender))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    for secret in place.secrets:
        assert not [text for text in seen if secret in text]


CHECKS: tuple[Callable[[Place], None], ...] = (
    check_says_what_happened,
    check_is_bounded_in_tries,
    check_reports_a_refusal,
    check_one_send_is_one_request,
    check_reports_a_refusal_that_cannot_change,
    check_follows_no_redirect,
    check_gives_up_on_silence,
    check_reports_an_absent_place,
    check_hides_secrets,
)
