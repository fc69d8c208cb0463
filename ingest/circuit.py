"""Does Kafka take chunks? A circuit breaker over what was sent, what was delivered, and time. No I/O.

Closed: requests are sent. Open, once something was sent and nothing at all delivered for `away_seconds`: requests are
refused at once instead of waiting for their deadline each. When Kafka answers a question again, one request is let
through as a trial; a delivery of anything closes the circuit.
"""

from __future__ import annotations


class Circuit:
    """All times are monotonic seconds. `trial_seconds`: how long a trial may take before the next one."""

    def __init__(self, away_seconds: float, trial_seconds: float) -> None:
        self._away_seconds, self._trial_seconds = away_seconds, trial_seconds
        self._silent_since: float | None = None
        self._answered = False
        self._trial_at = float("-inf")
        self.open = False

    def sent(self, now: float) -> None:
        """Something is on its way."""
        if self._silent_since is None:
            self._silent_since = now

    def delivered(self, now: float, *, more: bool) -> bool:
        """Something arrived (`more` is still on its way); whether that closed the circuit."""
        self._silent_since = now if more else None
        was_open, self.open = self.open, False
        return was_open

    def failed(self, now: float) -> bool:
        """Something did not arrive, or has been on its way for `away_seconds`; whether that opened the circuit."""
        self._answered = False
        if self.open or self.silent_for(now) < self._away_seconds:
            return False
        self.open = True
        return True

    def answered(self) -> None:
        """Kafka answers questions: a trial may be made."""
        self._answered = True

    def silent_for(self, now: float) -> float:
        """Seconds since the last delivery, or since something was sent and none came."""
        return 0.0 if self._silent_since is None else now - self._silent_since

    def refuses(self, now: float) -> bool:
        """Whether a request would be refused now."""
        return self.open and not (self._answered and now - self._trial_at > self._trial_seconds)

    def admit(self, now: float) -> bool:
        """Whether a request may be sent; the first after an answer is the trial."""
        if self.refuses(now):
            return False
        if self.open:
            self._answered, self._trial_at = False, now
        return True
