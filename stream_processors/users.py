"""The state of each user: sums, counts, first and last times. All commute, so the order of arrival does not matter.

Recency, frequency and monetary value read off it: days since `last_active` or `last_purchase_at`, `purchases`,
`monetary_micros`. These are sums over events: an order that was reported twice is in them twice, as in windows; answers
about money count it once, from the events. States of users who were not seen lately are let go and come back from the
`user_state` table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

import msgspec

from schemas.wire import EventLine
from stream_processors.sql import Roles

ACTIVITY: Final = 1
PURCHASE: Final = 2
SESSION: Final = 4
SIGNUP: Final = 8
UNSUBSCRIBE: Final = 16
DELIVERY: Final = 32
OPEN: Final = 64
CLICK: Final = 128

FLAGS: Final[Mapping[str, int]] = {
    "activity": ACTIVITY,
    "purchase": PURCHASE,
    "session_start": SESSION,
    "signup": SIGNUP,
    "unsubscribe_all": UNSUBSCRIBE,
    "impression": DELIVERY,
    "open": OPEN,
    "click": CLICK,
}
"""Roles of a pack that the user state folds, as bits."""

MOST_PAIRS: Final = 10_000

UserKey = tuple[str, str]
"""tenant, user id."""


class RoleTable:
    """What an event means in one pack: (event type, sub-type) to role bits, looked up once for each pair."""

    def __init__(self, roles: Roles) -> None:
        self._declared = [
            (event_type, subtype, FLAGS[role])
            for role, refs in roles.items()
            if role in FLAGS
            for event_type, subtype in refs
        ]
        self.known: dict[tuple[str, str], int] = {}

    def bits(self, event_type: str, subtype: str) -> int:
        """The role bits of an event; remembered in `known`."""
        bits = 0
        for declared_type, declared_subtype, flag in self._declared:
            if declared_type == event_type and declared_subtype in (None, subtype):
                bits |= flag
        if len(self.known) < MOST_PAIRS:
            self.known[event_type, subtype] = bits
        return bits


_NO_ROLES: Final = RoleTable({})


class UserState(msgspec.Struct, gc=False):
    """One user, absolute; also the row of `user_state` (but `changed`). Times: Unix seconds, None until it happened."""

    tenant: str
    user_id: str
    first_seen: float
    last_seen: float
    last_active: float | None = None
    signed_up_at: float | None = None
    first_purchase_at: float | None = None
    last_purchase_at: float | None = None
    unsubscribed_at: float | None = None
    events: int = 0
    purchases: int = 0
    monetary_micros: int = 0
    sessions: int = 0
    delivered: dict[str, int] = {}
    opened: dict[str, int] = {}
    clicked: int = 0
    segment: str = ""
    segment_at: float = 0.0
    version: int = 0
    changed: bool = False


def _earlier(a: float | None, b: float) -> float:
    return b if a is None or b < a else a


def _later(a: float | None, b: float) -> float:
    return b if a is None or b > a else a


def fold(state: UserState, event: EventLine, bits: int) -> None:
    """Add one event to its user's state. Commutative: any order of the same events gives the same state."""
    at, segment = event.timestamp, event.segment
    state.events += 1
    if at > state.last_seen:
        state.last_seen = at
    elif at < state.first_seen:
        state.first_seen = at
    if segment and at >= state.segment_at and (at > state.segment_at or segment > state.segment):
        state.segment, state.segment_at = segment, at
    if bits:
        _fold_roles(state, event, bits, at)


def _fold_roles(state: UserState, event: EventLine, bits: int, at: float) -> None:
    if bits & ACTIVITY and (state.last_active is None or at > state.last_active):
        state.last_active = at
    if bits & SESSION:
        state.sessions += 1
    if bits & (DELIVERY | OPEN | CLICK):
        _fold_engagement(state, event, bits)
    if bits & (PURCHASE | SIGNUP | UNSUBSCRIBE):
        _fold_milestone(state, event, bits)


def _fold_engagement(state: UserState, event: EventLine, bits: int) -> None:
    if bits & DELIVERY and not event.is_holdout:
        state.delivered[event.channel] = state.delivered.get(event.channel, 0) + 1
    if bits & OPEN:
        state.opened[event.channel] = state.opened.get(event.channel, 0) + 1
    if bits & CLICK:
        state.clicked += 1


def _fold_milestone(state: UserState, event: EventLine, bits: int) -> None:
    at = event.timestamp
    if bits & PURCHASE:
        state.purchases += 1
        state.monetary_micros += event.amount_micros
        state.first_purchase_at = _earlier(state.first_purchase_at, at)
        state.last_purchase_at = _later(state.last_purchase_at, at)
    if bits & SIGNUP:
        state.signed_up_at = _earlier(state.signed_up_at, at)
    if bits & UNSUBSCRIBE:
        state.unsubscribed_at = _later(state.unsubscribed_at, at)


class Users:
    """The user states of one shard, at most about `most` in memory; `load` brings back those that were let go."""

    def __init__(self, roles: Mapping[str, RoleTable], *, most: int = 200_000) -> None:
        """`roles` by pack; events of an undeclared pack count, and mean nothing more."""
        self._roles = roles
        self._most = most
        self._states: dict[str, dict[str, UserState]] = {}
        self._changed: list[UserState] = []

    def __len__(self) -> int:
        return sum(map(len, self._states.values()))

    def missing(self, tenant: str, events: Iterable[EventLine]) -> set[str]:
        """The users of these events whose state is not in memory."""
        return {event.user_id for event in events}.difference(self._states.get(tenant, ()))

    def load(self, states: Iterable[UserState]) -> None:
        """Put states in memory, as stored."""
        for state in states:
            self._states.setdefault(state.tenant, {})[state.user_id] = state

    def restore(self, states: Iterable[UserState]) -> None:
        """Put states in memory, as recomputed from the events; they count as changed."""
        restored = list(states)
        self.load(restored)
        self.touch(restored)

    def replace(self, keys: Iterable[UserKey], states: Iterable[UserState]) -> None:
        """Forget these users and put `states` in their place, as recomputed; nobody's is written any more as it was."""
        for tenant, user_id in keys:
            self._states.get(tenant, {}).pop(user_id, None)
        self.restore(states)

    def add(self, tenant: str, events: Iterable[EventLine]) -> None:
        """Fold new events of a tenant. Call `missing` and `load` before, or users start from nothing."""
        changed, pack, table = self._changed, None, _NO_ROLES
        known = table.known
        users = self._states.setdefault(tenant, {})
        for event in events:
            state = users.get(event.user_id)
            if state is None:
                state = UserState(tenant, event.user_id, event.timestamp, event.timestamp)
                users[event.user_id] = state
            if event.pack != pack:
                pack = event.pack
                table = self._roles.get(pack, _NO_ROLES)
                known = table.known
            bits = known.get((event.event_type, event.subtype))
            if bits is None:
                bits = table.bits(event.event_type, event.subtype)
            fold(state, event, bits)
            if not state.changed:
                state.changed = True
                changed.append(state)

    def take_changed(self, version: int) -> list[UserState]:
        """The states that changed since the last call, absolute; they now count as used last."""
        rows, self._changed = list(filter(self._holds, self._changed)), []
        for state in rows:
            state.changed = False
            state.version = version
            users = self._states[state.tenant]
            users[state.user_id] = users.pop(state.user_id)
        return rows

    def touch(self, states: Iterable[UserState]) -> None:
        """Count these states as changed again, after they could not be written; but not those replaced meanwhile."""
        for state in states:
            if not state.changed and self._holds(state):
                state.changed = True
                self._changed.append(state)

    def _holds(self, state: UserState) -> bool:
        return self._states.get(state.tenant, {}).get(state.user_id) is state

    def shrink(self) -> int:
        """Let go of the states unused for longest, beyond the bound; returns how many. Unsaved ones stay."""
        excess = len(self) - self._most
        before = excess
        for users in self._states.values():
            for user_id in [user_id for user_id, state in islice(users.items(), max(0, excess)) if not state.changed]:
                del users[user_id]
                excess -= 1
        return before - excess if before > 0 else 0


def describe(state: UserState, now: float) -> dict[str, Any]:
    """Recency, frequency and monetary value at `now`: days (float), counts, and the currency's units."""

    def days(at: float | None) -> float | None:
        return None if at is None else max(0.0, (now - at) / 86400)

    return {
        "recency_days": days(state.last_active),
        "frequency": state.purchases,
        "monetary": state.monetary_micros / 1_000_000,
        "days_since_purchase": days(state.last_purchase_at),
        "days_since_signup": days(state.signed_up_at),
        "sessions": state.sessions,
    }
