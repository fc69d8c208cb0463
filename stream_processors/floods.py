"""The flood guard of a worker: counts what it handles, and keeps a flood in the warehouse so that others stop, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from schemas import topics
from schemas.flood import Flood, FloodGuard, FloodLimits
from stream_processors.ports import Record


class FloodPort(Protocol):
    """Where floods are written down. Both calls block, and raise `Retryable`."""

    def is_open(self, topic: str) -> bool:
        """Whether a consumer has stopped at a flood of this topic, and nobody let it go on."""
        ...

    def record(self, flood: Flood) -> None:
        """Write a flood down; the watcher pages."""
        ...


class Guards:
    """A guard for each topic that is consumed. `accepted_until`: by topic, see `FloodGuard`."""

    def __init__(self, limits: FloodLimits, port: FloodPort, accepted_until: Mapping[str, float]) -> None:
        self.port = port
        self._guards = {
            topic: FloodGuard(topic, limits, accepted_until.get(topic, 0.0))
            for topic in (topics.EVENTS, topics.REJECTED)
        }

    def judge(self, topic: str, records: Sequence[Record], events: Mapping[tuple[int, int], int | str]) -> None:
        """Count records in order; `events`: by (partition, offset), how many events it holds, or why it is unreadable.

        Raises `Flood` for one too many, and for the first one while another worker has stopped at a flood.
        """
        guard = self._guards[topic]
        asked = False
        for record in records:
            found = events.get((record.partition, record.offset), 0)
            if isinstance(found, int):
                guard.good(found)
                continue
            place = f"partition {record.partition} offset {record.offset}"
            guard.bad(place, found, record.timestamp)
            if not asked and not guard.passes(record.timestamp):
                asked = True
                if self.port.is_open(topic):
                    raise Flood(topic, place, 1, 1, found, "Another worker has stopped at the same flood")
