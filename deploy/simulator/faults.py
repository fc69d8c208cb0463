"""What reaches the collector instead of the plain truth: duplicates, delays, late and malformed events, an outage."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Any, Final, NamedTuple

from deploy.simulator.chance import uuid_from
from deploy.simulator.profiles import DAY, HOUR, Plan
from deploy.simulator.stage import Clockwork, Event
from schemas.reasons import Reason

ACCEPTED: Final = "accepted"
DUPLICATE: Final = "duplicate"
LATE: Final = "late"
MALFORMED: Final = "malformed"

DUPLICATE_RATE: Final = 0.005
MALFORMED_RATE: Final = 0.003
LATE_RATE: Final = 0.004
DELAYED_RATE: Final = 0.02


class Send(NamedTuple):
    """Something to send at `ms`. `fate` is what must become of it; `reason` why, when it must be rejected."""

    ms: int
    payload: Any
    fate: str
    reason: str = ""


class Kind(NamedTuple):
    """A way to be malformed: which reason the collector must give, and how to break a good event of `event_type`."""

    reason: Reason
    event_type: str
    spoil: Callable[[Event], Any]
    live_only: bool = False


def _set(**changes: Any) -> Callable[[Event], Event]:
    return lambda event: {**event, **changes}


def _property(name: str, value: Any) -> Callable[[Event], Event]:
    return lambda event: {**event, "properties": {**event["properties"], name: value}}


def _without(name: str) -> Callable[[Event], Event]:
    return lambda event: {key: value for key, value in event.items() if key != name}


KINDS: Final = (
    Kind(Reason.EMPTY_ID, "user_engaged", _set(user_id="")),
    Kind(Reason.EMPTY_ID, "user_engaged", _set(event_id="")),
    Kind(Reason.INVALID_SOURCE, "user_engaged", _set(source="fax")),
    Kind(Reason.UNKNOWN_EVENT_TYPE, "user_engaged", _set(event_type="user_daydreamed")),
    Kind(Reason.UNKNOWN_ENUM, "user_engaged", _property("engagement_type", "stare")),
    Kind(Reason.WRONG_TYPE, "user_engaged", _property("session_duration_seconds", "a while")),
    Kind(Reason.INVALID_TIMESTAMP, "user_engaged", _set(timestamp="yesterday")),
    Kind(Reason.INVALID_UUID, "campaign_delivered", _property("campaign_id", "campaign-12")),
    Kind(Reason.NEGATIVE_AMOUNT, "user_purchased", _property("order_value", -19.99)),
    Kind(Reason.SCORE_OUT_OF_RANGE, "campaign_converted", _property("incrementality_score", 1.7)),
    Kind(Reason.MISSING_FIELD, "user_purchased", _without("timestamp")),
    Kind(Reason.NOT_AN_OBJECT, "user_engaged", lambda event: str(event["event_id"])),
    Kind(Reason.FUTURE_TIMESTAMP, "user_engaged", _set(timestamp="2093-04-05T06:07:08Z")),
    Kind(Reason.TOO_OLD, "user_engaged", _set(timestamp="2019-01-01T00:00:00Z"), live_only=True),
)


class Mangler:
    """Takes the events as they happen (`feed`), gives back what is sent and when (`due`). Seeded by plan and label."""

    def __init__(self, plan: Plan, label: str = "") -> None:
        self._plan, self._rng = plan, Random(f"{plan.seed}:faults:{label}")
        self._iso = Clockwork().text
        self._heap: list[tuple[int, int, Send]] = []
        self._order = count()
        self._kinds: dict[str, list[Kind]] = {}
        for kind in KINDS:
            self._kinds.setdefault(kind.event_type, []).append(kind)
        self.suppressed = 0

    def due(self, until: int) -> Iterator[Send]:
        """What is to be sent up to `until` (ms), in order."""
        while self._heap and self._heap[0][0] <= until:
            yield heapq.heappop(self._heap)[2]

    def feed(self, ms: int, event: Event) -> None:
        """One true event, happening at `ms`."""
        plan, rng = self._plan, self._rng
        mobile = event["source"] == "mobile"
        if mobile and plan.end - plan.outage[0] <= ms < plan.end - plan.outage[1]:
            self.suppressed += 1
            return
        live = ms > plan.end
        sent = ms + rng.randrange(5, 250)
        if mobile and rng.random() < DELAYED_RATE:
            sent += rng.randrange(1_000, 60_000)
        self._push(sent, event, ACCEPTED)
        chance = rng.random()
        if chance < DUPLICATE_RATE:
            self._push(sent + (0 if chance < DUPLICATE_RATE * 0.4 else rng.randrange(500, 240_000)), event, DUPLICATE)
        elif chance < DUPLICATE_RATE + MALFORMED_RATE:
            self._malformed(sent, event, live)
        elif live and chance > 1 - LATE_RATE and event["event_type"] == "user_engaged":
            self._late(sent, event, ms)

    def _push(self, ms: int, payload: Any, fate: str, reason: str = "") -> None:
        heapq.heappush(self._heap, (ms, next(self._order), Send(ms, payload, fate, reason)))

    def _malformed(self, ms: int, event: Event, live: bool) -> None:
        """A broken sibling: same user and kind, own id. The true event is sent as well."""
        kinds = [kind for kind in self._kinds.get(event["event_type"], ()) if live or not kind.live_only]
        if kinds:
            kind = self._rng.choice(kinds)
            sibling = {**event, "event_id": uuid_from(self._rng)}
            self._push(ms, kind.spoil(sibling), MALFORMED, kind.reason.value)

    def _late(self, ms: int, event: Event, happened: int) -> None:
        """A phone comes back online with a visit of some days ago (25 hours to 20 days)."""
        old = self._iso(happened - self._rng.randrange(25 * HOUR, 20 * DAY))
        session = uuid_from(self._rng)
        properties = {**event["properties"], "session_id": session}
        late = {**event, "event_id": uuid_from(self._rng), "timestamp": old, "session_id": session}
        late["properties"] = properties
        self._push(ms, late, LATE)
