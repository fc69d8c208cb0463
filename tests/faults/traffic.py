"""Events by number, and what must become of each: the same seed and start give the same events, to the last byte.

Nothing is stored: what event 123,456 was, is computed again when the oracle asks. Some are late, some invalid (and must
be rejected with the reason given here), some carry money, some are sent again in a later batch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

_MASK = (1 << 64) - 1
LATE_SECONDS = 26 * 3600
CAMPAIGNS = tuple(str(UUID(int=0xC0DE << 64 | n)) for n in range(1, 9))
CHANNELS = ("push", "email", "sms", "in_app")
VIEWS = ("received", "opened", "clicked_cta")
ENGAGEMENTS = ("app_open", "view_catalog", "search")
SEGMENTS = (None, "FREQUENT_SHOPPER", "NEW_SHOPPER")
FAULTS = ("unknown_event_type", "missing_field", "invalid_timestamp")
"""Reasons of the invalid events, in turn."""

Event = dict[str, Any]


class Fact(NamedTuple):
    """What a reader must find of an event. `minute`: Unix seconds, event time. `reason`: "" when it is valid."""

    event_type: str
    campaign: str
    minute: int
    user: str
    micros: int
    reason: str


@dataclass(frozen=True)
class Traffic:
    """A stream of events. `start`: Unix seconds of the first; event N happens at `start + N / rate`.

    `hot`: the share of events that one single user causes. `late`, `invalid`, `again`: shares of events over a day old,
    of faulty ones, and of those that are sent a second time.
    """

    seed: int = 1
    rate: float = 1000.0
    users: int = 500
    hot: float = 0.0
    late: float = 0.02
    invalid: float = 0.01
    again: float = 0.02
    start: float = field(default_factory=lambda: round(time.time() - 5.0, 3))

    def event_id(self, number: int) -> str:
        """The id of an event; says its number."""
        return str(UUID(int=(self.seed & 0xFFFF_FFFF) << 64 | number))

    def number_of(self, event_id: str) -> int:
        """Inverse of `event_id`; -1 for an id of another stream."""
        try:
            value = UUID(event_id).int
        except ValueError:
            return -1
        return value & _MASK if value >> 64 == self.seed & 0xFFFF_FFFF else -1

    def event(self, number: int) -> Event:
        """Event `number` as a client sends it."""
        bits = _mix(self.seed, number)
        at, user = self._time(number, bits), self._user(bits)
        kind, properties = _properties(number, bits)
        made: Event = {
            "event_id": self.event_id(number),
            "event_type": kind,
            "timestamp": _iso(at),
            "user_id": user,
            "session_id": "",
            "source": "mobile" if kind in ("campaign_viewed", "campaign_clicked", "user_engaged") else "backend",
            "properties": properties,
            "context": {"platform": "iOS"},
        }
        if segment := SEGMENTS[(bits >> 28 & 0xF) % 3]:
            made["context"]["user_segment"] = segment
        return _spoil(made, FAULTS[number % len(FAULTS)]) if self._is_invalid(bits) else made

    def fact(self, number: int) -> Fact:
        """What must become of event `number`."""
        bits = _mix(self.seed, number)
        kind, properties = _properties(number, bits)
        reason = FAULTS[number % len(FAULTS)] if self._is_invalid(bits) else ""
        minute = int(self._time(number, bits)) // 60 * 60
        micros = round(properties.get("order_value", 0) * 1_000_000)
        return Fact(kind, properties.get("campaign_id", ""), minute, self._user(bits), micros, reason)

    def is_sent_again(self, number: int) -> bool:
        """Whether the client sends it a second time."""
        return (_mix(self.seed, number) >> 4 & 0xFFF) < self.again * 0x1000

    def batches(self, count: int, size: int, first: int = 0) -> Iterator[list[int]]:
        """The numbers of `count` events from `first` on, in batches of about `size`.

        Of those that are sent again, one half comes a batch later, the other at the end, when they are old.
        """
        soon: list[int] = []
        late: list[int] = []
        for begin in range(first, first + count, size):
            numbers = list(range(begin, min(first + count, begin + size)))
            yield numbers + soon
            again = [number for number in numbers if self.is_sent_again(number)]
            soon = again[::2]
            late += again[1::2]
        late += soon
        for begin in range(0, len(late), size):
            yield late[begin : begin + size]

    def _time(self, number: int, bits: int) -> float:
        late = LATE_SECONDS if (bits >> 16 & 0xFFF) < self.late * 0x1000 else 0
        return round(self.start + number / self.rate - late, 3)

    def _user(self, bits: int) -> str:
        return "user-hot" if (bits >> 52 & 0xFFF) < self.hot * 0x1000 else f"user-{(bits >> 32 & 0xFFFF) % self.users}"

    def _is_invalid(self, bits: int) -> bool:
        return (bits >> 40 & 0xFFF) < self.invalid * 0x1000


def _mix(seed: int, number: int) -> int:
    """64 well mixed bits (splitmix64)."""
    z = (seed * 0xD1B54A32D192ED03 + number * 0x9E3779B97F4A7C15) & _MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
    return z ^ z >> 31


def _properties(number: int, bits: int) -> tuple[str, dict[str, Any]]:
    choice, pick = bits & 0xF, bits >> 24 & 0xF
    campaign = {"campaign_id": CAMPAIGNS[pick & 7], "delivery_channel": CHANNELS[pick >> 2]}
    if choice < 6:
        return "campaign_delivered", {**campaign, "is_holdout": pick == 3}
    if choice < 9:
        return "campaign_viewed", {**campaign, "view_type": VIEWS[pick % 3]}
    if choice < 11:
        return "campaign_clicked", campaign
    if choice < 14:
        return "user_engaged", {"engagement_type": ENGAGEMENTS[pick % 3]}
    cents = bits >> 12 & 0xFFFF
    return "user_purchased", {"order_id": str(UUID(int=0x0DE7 << 64 | number)), "order_value": cents / 100}


def _spoil(event: Event, reason: str) -> Event:
    if reason == "unknown_event_type":
        return {**event, "event_type": "no_such_event"}
    if reason == "missing_field":
        return {name: value for name, value in event.items() if name != "user_id"}
    return {**event, "timestamp": "the day before yesterday"}


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.")


def _iso(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{_second(ms // 1000)}{ms % 1000:03d}Z"
