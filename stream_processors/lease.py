"""Whether this worker is a member of its consumer group for sure.

A worker that was stopped for a while, or cut off from Kafka, may have lost its partitions without knowing it. What it
writes then must not stand above what their new owner writes. Events, ledger and dead letters cannot: the same records
give the same rows. Windows and user states can: they are absolute, and the newest version holds. So they are flushed
only while the lease holds, and with a version that was taken before the lease was looked at.
"""

from __future__ import annotations

from schemas.clock import Clock


class Lease:
    """Holds for `seconds` (the session timeout) after each heartbeat that the group answered."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._renewed, self._began = float("-inf"), clock.monotonic()

    def now(self) -> float:
        """To be given to `renew`: taken before the heartbeat is sent, so that the group's own clock runs later."""
        return self._clock.monotonic()

    def renew(self, sent: float) -> None:
        """The group has answered a heartbeat, or a request to join, that was sent then."""
        self._renewed = max(self._renewed, sent)

    def holds(self) -> bool:
        """Whether nobody else can have our partitions yet."""
        return self._clock.monotonic() - self._renewed < self._seconds

    def lapsed(self) -> float:
        """Seconds since it held last, or since there was anything to hold; 0 while it holds."""
        return max(0.0, self._clock.monotonic() - max(self._renewed + self._seconds, self._began))
