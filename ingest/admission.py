"""How much is worked on at once. Past the limits a request is answered with 429 before its body is read or inflated."""

from __future__ import annotations

from types import TracebackType

from ingest.refusals import Overloaded


class Admission:
    """A budget of body bytes and requests; `held` bytes are being worked on."""

    def __init__(self, max_bytes: int, max_requests: int) -> None:
        self._max_bytes, self._max_requests = max_bytes, max_requests
        self.held = 0
        self.requests = 0

    def enter(self) -> Room:
        """Room for one request; raises Overloaded. Use it as a context manager."""
        if self.requests >= self._max_requests:
            raise Overloaded(f"{self.requests} requests are being worked on; come back in a moment")
        return Room(self)

    def take(self, size: int) -> None:
        """Hold `size` bytes more; raises Overloaded."""
        if self.held + size > self._max_bytes:
            raise Overloaded(f"{self.held} bytes are being worked on; come back in a moment")
        self.held += size


class Room:
    """What one request holds of the budget."""

    __slots__ = ("_admission", "_size")

    def __init__(self, admission: Admission) -> None:
        self._admission, self._size = admission, 0

    def grow_to(self, size: int) -> None:
        """Hold at least `size` bytes; raises Overloaded."""
        if size > self._size:
            self._admission.take(size - self._size)
            self._size = size

    def __enter__(self) -> Room:
        self._admission.requests += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.requests -= 1
        self._admission.held -= self._size
        self._size = 0
