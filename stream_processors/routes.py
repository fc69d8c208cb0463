"""What a worker process consists of: routes from topics to handlers, and work on a timer. Knows nothing of Faust."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream_processors.ports import Record

Store = Callable[[], None]


@dataclass(frozen=True)
class Route:
    """What to do with the records of one topic.

    `handle` runs in a thread, one call at a time, and returns `store`, which runs in another thread beside the next
    `handle`; when `store` returns, the records are acknowledged. Neither may raise: they retry passing faults
    themselves. `assign` is called with the topic's partitions, in a thread, when the assignment
    changed (with none on revocation).
    """

    topic: str
    handle: Callable[[Sequence[Record]], Store]
    assign: Callable[[Sequence[int]], None]
    take: int
    within: float


@dataclass
class Background:
    """Work on a timer beside the routes: `run` blocks in a thread and must not raise."""

    name: str
    seconds: float
    run: Callable[[], None]
