"""One (tenant, rule, subject) under watch: how long it has been bad or good. Pure; times are arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from schemas.alerting.incident import AlertRow, State
from schemas.alerting.readings import Reading
from schemas.alerting.rules import Rule

GAP: Final = 10.0
"""A pending breach survives readings that say nothing for this long, seconds, or for the rule's `raise_after`."""


class Verdict(Enum):
    """What a reading says about a rule. `BETWEEN`: no breach, but not past the clear threshold either."""

    BREACH = auto()
    BETWEEN = auto()
    GOOD = auto()
    UNKNOWN = auto()


def judge(rule: Rule, reading: Reading | None) -> Verdict:
    """The verdict on a reading; None: there was none."""
    silent = Verdict.GOOD if rule.missing == "clear" else Verdict.UNKNOWN
    if reading is None or reading.value is None or not math.isfinite(reading.value) or reading.count < rule.min_count:
        return silent
    if rule.breached(reading.value):
        return Verdict.BREACH
    return Verdict.GOOD if rule.cleared(reading.value) else Verdict.BETWEEN


@dataclass
class Watch:
    """Timers of one key, and its incident. `…_since`, `known_at`: Unix seconds of observations.

    `first_breach`, `last_breach`: times of the readings. `quiet_until`: no new incident before, unless it was good.
    """

    known_at: float
    bad_since: float | None = None
    good_since: float | None = None
    first_breach: float = 0.0
    last_breach: float = 0.0
    quiet_until: float = 0.0
    incident: AlertRow | None = None

    @property
    def is_open(self) -> bool:
        """Whether an incident is open or acknowledged."""
        return self.incident is not None and self.incident.state != State.RESOLVED

    def note(self, verdict: Verdict, at: float, now: float, rule: Rule) -> None:
        """Take a verdict into the timers. `at`: time of the reading."""
        if verdict is Verdict.UNKNOWN:
            if not self.is_open and now - self.known_at > max(GAP, rule.raise_after):
                self.bad_since = None
            return
        self.known_at = now
        if verdict is not Verdict.GOOD:
            self.good_since = None
        if verdict is not Verdict.BREACH:
            self.bad_since = None
        if verdict is Verdict.GOOD and self.good_since is None:
            self.good_since = now
        if verdict is Verdict.BREACH:
            if self.bad_since is None:
                self.bad_since = now
                self.first_breach = at
            self.last_breach = max(self.last_breach, at)

    def must_raise(self, rule: Rule, now: float) -> bool:
        """Whether the breach has lasted long enough for an incident."""
        if self.is_open or self.bad_since is None or now < self.quiet_until:
            return False
        return now - self.bad_since >= rule.raise_after

    def must_resolve(self, rule: Rule, now: float) -> bool:
        """Whether the incident's cause is gone for long enough."""
        if self.incident is None or not self.is_open or self.good_since is None:
            return False
        return now - self.good_since >= rule.clear.after and now - self.incident.raised_at >= rule.min_open

    def is_stale(self, rule: Rule, now: float) -> bool:
        """Whether nothing could be said about an open incident for too long."""
        return self.is_open and now - self.known_at >= rule.stale_after

    def is_done(self, rule: Rule, now: float) -> bool:
        """Whether there is nothing left to remember."""
        if self.is_open or self.bad_since is not None:
            return False
        rested = self.good_since is not None and now - self.good_since >= rule.clear.after
        return rested or now >= self.quiet_until
