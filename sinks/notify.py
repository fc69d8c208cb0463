"""Telling channels of incidents, each at most once.

Reads: incidents that were raised or resolved; `notifications` on start. Writes: messages, and `notifications` (the
intent before a message, its outcome after). Guarantee: a (alert, channel, kind) is started at most once. After a crash
between intent and outcome nobody knows whether the message went out: a raised alert that is still open is sent again
where the place recognises repetitions (webhook by delivery id; console), and marked `unknown` elsewhere (apprise), as a
page twice was judged worse than a page that other channels repeat. A message that was only queued is sent on start.
On failure: tries with back-off, then the outcome says why; a slow channel holds up only its own queue; when the intent
cannot be stored, because the warehouse is down, the message is sent after a few tries all the same.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from random import Random
from typing import Final, Protocol

from schemas.alerting.channels import Channel
from schemas.alerting.incident import AlertRow, Kind, State
from schemas.clock import Clock
from schemas.errors import HeadraceError, Retryable
from sinks.lane import Lane, Target
from sinks.message import Message
from sinks.notification_store import FAILED, PENDING, SENT, UNKNOWN, Told
from sinks.retry import with_retries
from sinks.senders import build_sender
from sinks.settings import NotifySettings

log = logging.getLogger(__name__)

RECORD_TRIES: Final = 3
MAX_TOLD: Final = 200_000
RESOLVED_RECENTLY: Final = 3600.0
"""On start, a missed "resolved" is still sent for incidents that ended less than this many seconds ago."""


class Store(Protocol):
    """What the notifier needs of `NotificationStore`."""

    def load(self, days: int) -> dict[Told, str]: ...

    def record(self, key: Told, outcome: str) -> None: ...


def build_targets(
    channels: Mapping[str, Channel], secrets: Mapping[str, str], clock: Clock, settings: NotifySettings
) -> list[Target]:
    """Targets for the declared channels. Raises `ConfigError` for secrets that cannot be used."""
    return [
        Target(name, channel, build_sender(name, channel, secrets, clock, settings))
        for name, channel in channels.items()
    ]


class Notifier:
    """One thread and one bounded queue a channel. `notify` never blocks."""

    def __init__(
        self, targets: Iterable[Target], store: Store, clock: Clock, seed: int, settings: NotifySettings | None = None
    ) -> None:
        self._settings = settings or NotifySettings()
        self._store = store
        self._clock = clock
        self._told: dict[Told, str] = {}
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._open = 0
        self._stopping = threading.Event()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._unsaved: dict[str, dict[Told, str]] = {}
        self._lanes = [Lane(target, self._settings.queue, Random(seed + n)) for n, target in enumerate(targets)]
        for lane in self._lanes:
            lane.start(self._deliver, self._catch_up)

    def recover(self, rows: Iterable[AlertRow]) -> None:
        """Load what was told before, and send what a crash left unsent. Call once, before `notify`.

        `rows`: incidents that are open, acknowledged or were resolved lately. Raises `Retryable` when the warehouse is
        away.
        """
        told = self._store.load(self._settings.remember_days)
        with self._lock:
            self._told |= told
        again: set[Told] = set()
        for row in rows:
            if row.state == State.RESOLVED and self._clock.now() - (row.resolved_at or 0.0) > RESOLVED_RECENTLY:
                continue
            kind = Kind.RESOLVED if row.state == State.RESOLVED else Kind.RAISED
            if row.state != State.ACKNOWLEDGED:
                again |= self._recover_row(row, kind)
        for key, outcome in told.items():
            if outcome == PENDING and key not in again:
                self._give_up(key)

    def notify(self, kind: Kind, row: AlertRow) -> int:
        """Tell the channels that want this incident and were not told; returns how many messages were queued."""
        queued = 0
        for lane in self._lanes:
            target = lane.target
            if self._wanted(target, kind, row) and self._claim(_key(target, kind, row)):
                queued += self._queue(lane, Message(target.name, kind, row))
        return queued

    def wait_idle(self, timeout: float) -> bool:
        """Block until every queued message has an outcome, for `timeout` seconds at most; whether it did."""
        with self._idle:
            return self._idle.wait_for(lambda: self._open == 0, timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Send what is queued for up to `timeout` seconds, then stop; the rest is sent on the next start."""
        self.wait_idle(timeout)
        self._stopping.set()
        for lane in self._lanes:
            lane.stop()

    def _recover_row(self, row: AlertRow, kind: Kind) -> set[Told]:
        again: set[Told] = set()
        for lane in self._lanes:
            key = _key(lane.target, kind, row)
            doubtful = self._told.get(key) == PENDING and kind is Kind.RAISED and lane.target.sender.repeatable
            if doubtful and lane.target.channel.wants(row.rule_id, row.severity, row.tenant):
                again.add(key)
                self._queue(lane, Message(lane.target.name, kind, row))
        self.notify(kind, row)
        return again

    def _give_up(self, key: Told) -> None:
        self._told[key] = UNKNOWN
        try:
            self._store.record(key, f"{UNKNOWN}: the process ended while sending")
        except HeadraceError as error:
            log.warning("alert %s stays pending on channel %s: %s", key.alert_id, key.channel, error)

    def _wanted(self, target: Target, kind: Kind, row: AlertRow) -> bool:
        if kind not in (Kind.RAISED, Kind.RESOLVED) or not target.channel.wants(row.rule_id, row.severity, row.tenant):
            return False
        if kind is Kind.RAISED:
            return True
        # Nobody wants to hear the end of what they never heard the start of.
        return target.channel.resolved and _key(target, Kind.RAISED, row) in self._told

    def _claim(self, key: Told) -> bool:
        with self._lock:
            if key in self._told:
                return False
            self._told[key] = PENDING
            while len(self._told) > MAX_TOLD:
                self._told.pop(next(iter(self._told)))
            return True

    def _queue(self, lane: Lane, message: Message) -> int:
        with self._lock:
            self._open += 1
        if lane.put(message):
            return 1
        log.error("channel %s has a full queue: alert %s is not sent", message.channel, message.row.alert_id)
        self._finish(message, f"{FAILED}: queue full")
        return 0

    def _deliver(self, lane: Lane, message: Message) -> None:
        key = _key(lane.target, message.kind, message.row)
        self._record(lane, key, PENDING)
        outcome = self._send(lane, message)
        if not self._record(lane, key, outcome):
            self._unsaved.setdefault(lane.target.name, {})[key] = outcome
        self._finish(message, outcome)

    def _catch_up(self, lane: Lane) -> None:
        """Store outcomes that the warehouse could not take when they were known."""
        unsaved = self._unsaved.get(lane.target.name, {})
        for key in list(unsaved):
            try:
                self._store.record(key, unsaved[key])
            except HeadraceError:
                return
            del unsaved[key]

    def _send(self, lane: Lane, message: Message) -> str:
        sender = lane.target.sender
        try:
            with_retries(
                partial(sender.send, message),
                self._clock,
                random=lane.random,
                settings=self._settings.retry,
                attempts=sender.attempts,
                stopping=self._stopping.is_set,
            )
        except HeadraceError as error:
            if sender.repeatable and self._stopping.is_set() and isinstance(error, Retryable):
                return PENDING
            log.error("alert %s was not sent to channel %s: %s", message.row.alert_id, message.channel, error)
            return f"{FAILED}: {error}"
        except Exception as error:
            # Its text may hold a URL; the type is enough to find it.
            log.error("channel %s failed with %s", message.channel, type(error).__name__)
            return f"{FAILED}: {type(error).__name__}"
        return SENT

    def _record(self, lane: Lane, key: Told, outcome: str) -> bool:
        """Store an outcome within a few tries; whether it is stored. Alerts go out while the warehouse is down, too."""
        try:
            with_retries(
                partial(self._store.record, key, outcome),
                self._clock,
                random=lane.random,
                settings=self._settings.retry,
                attempts=RECORD_TRIES,
                stopping=self._stopping.is_set,
            )
        except HeadraceError as error:
            log.error("cannot store that alert %s is %s on channel %s: %s", key.alert_id, outcome, key.channel, error)
            return False
        return True

    def _finish(self, message: Message, outcome: str) -> None:
        key = Told(message.row.tenant, message.row.alert_id, message.channel, message.kind.value)
        with self._idle:
            self._told[key] = outcome
            self.outcomes[(message.channel, outcome.split(":", 1)[0])] += 1
            self._open -= 1
            self._idle.notify_all()


def _key(target: Target, kind: Kind, row: AlertRow) -> Told:
    return Told(row.tenant, row.alert_id, target.name, kind.value)
