"""Where the simulated business plays: a timeline of things to happen, and the events that they leave behind."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Any

from deploy.simulator.chance import uuid_from
from deploy.simulator.profiles import DAY, REGIONS, Plan
from deploy.simulator.world import User

Event = dict[str, Any]
"""An event of the marketing taxonomy, as an SDK would send it."""


class Clockwork:
    """Milliseconds since 1970 as ISO 8601 text, with the date part remembered."""

    def __init__(self) -> None:
        self._day, self._date = -1, ""

    def text(self, ms: int) -> str:
        day, rest = divmod(ms, DAY)
        if day != self._day:
            self._day, self._date = day, _civil(day)
        seconds, millis = divmod(rest, 1000)
        minutes, second = divmod(seconds, 60)
        hour, minute = divmod(minutes, 60)
        return f"{self._date}T{hour:02d}:{minute:02d}:{second:02d}.{millis:03d}Z"


def _civil(day: int) -> str:
    from datetime import date

    return date.fromordinal(719_163 + day).isoformat()


class Stage:
    """A discrete-event simulation: actions run in time order, and each may emit events and plan further actions.

    Everything random comes from `rng`, so the same plan gives the same events, byte for byte.
    """

    def __init__(self, plan: Plan, label: str = "") -> None:
        self.plan = plan
        self.rng = Random(f"{plan.seed}:stage:{label}")
        self.now = plan.start
        self._rushes = plan.rushes
        self.iso = Clockwork().text
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()
        self._out: list[tuple[int, Event]] = []

    def restart(self, plan: Plan, label: str) -> None:
        """Forget everything planned and go on at `plan.end` with fresh chance named by `label`."""
        self.plan, self.now, self._rushes = plan, plan.end, plan.rushes
        self.rng = Random(f"{plan.seed}:stage:{label}")
        self._heap.clear()

    @property
    def rush(self) -> bool:
        """Whether it is one of the hours that run at the live rate."""
        return any(begin <= self.now < end for begin, end in self._rushes)

    def uuid(self) -> str:
        return uuid_from(self.rng)

    def at(self, ms: int, action: Callable[..., None], *args: Any) -> None:
        """Plan `action(*args)` for `ms` (now, if that has passed); it reads the time from `now`."""
        heapq.heappush(self._heap, (max(ms, self.now), next(self._order), action, args))

    def after(self, ms: float, action: Callable[..., None], *args: Any) -> None:
        self.at(self.now + int(ms), action, *args)

    def run(self, until: int) -> Iterator[tuple[int, Event]]:
        """Play up to and including `until`; yields (time, event) in time order. Can be called again to go on."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action, args = heapq.heappop(self._heap)
            action(*args)
            if self._out:
                yield from self._out
                self._out.clear()
        self.now = max(self.now, until)

    def emit(
        self, event_type: str, source: str, user_id: str, properties: Event, *,
        context: Event | None = None, session: str = "",
    ) -> None:  # fmt: skip
        """An event that happens now."""
        event: Event = {
            "event_id": uuid_from(self.rng),
            "event_type": event_type,
            "timestamp": self.iso(self.now),
            "user_id": user_id,
            "session_id": session,
            "source": source,
            "properties": properties,
            "context": context or {},
        }
        self._out.append((self.now, event))

    def emit_user(self, event_type: str, source: str, user: User, properties: Event) -> None:
        """An event of a user, with the context that the app and the backend know."""
        context = {
            "app_version": user.version,
            "platform": user.platform,
            "user_segment": user.segment or user.segment_at(self.now),
            "region": user.places[self.now // 60_000 % len(user.places)] if user.places else REGIONS[0],
        }
        self.emit(event_type, source, user.id, properties, context=context, session=user.session)
