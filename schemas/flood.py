"""Floods of bad messages: when a consumer stops instead of draining everything into the dead letters.

A flood is over a tenth of what came lately, or a thousand bad ones in a row. Good ones are counted by events, bad ones
by what cannot be told apart further: a record that is no chunk, a line that the warehouse refused. One poison record in
a hundred events, for ever, is no flood.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

from schemas.errors import Fatal

EXAMPLE_CHARS: Final = 400


class FloodLimits(NamedTuple):
    """`share` of the last `window` events, once `least` were seen; or `row` bad ones without a good one between."""

    share: float = 0.1
    window: int = 10_000
    least: int = 1_000
    row: int = 1_000


class Flood(Fatal):
    """The consumer must stop. `place`: where the first bad message of the flood stands. `example`: what is wrong."""

    def __init__(self, topic: str, place: str, bad: int, seen: int, example: str, advice: str = "") -> None:
        super().__init__(
            f"a flood of bad messages in {topic}: {bad} of the last {seen}, from {place} on; the consumer stops before "
            f"all become dead letters. {advice or 'Look with `headrace dead-letters flood`'}. Last: {example}"
        )
        self.topic, self.place, self.bad, self.seen, self.example = topic, place, bad, seen, example[:EXAMPLE_CHARS]


@dataclass
class _Run:
    bad: bool
    n: int


class FloodGuard:
    """Counts good and bad of one topic; thread-safe.

    `accepted_until`: bad ones of before (Unix seconds) pass; infinite: all do.
    """

    def __init__(self, topic: str, limits: FloodLimits | None = None, accepted_until: float = 0.0) -> None:
        self.topic, self._limits, self.accepted_until = topic, limits or FloodLimits(), accepted_until
        self._lock = threading.Lock()
        self._runs: deque[_Run] = deque()
        self._seen = self._bad = self._in_a_row = 0
        self._first = ""

    def good(self, n: int) -> None:
        """So many good ones came."""
        if n > 0:
            with self._lock:
                self._in_a_row = 0
                self._add(False, n)

    def passes(self, at: float) -> bool:
        """Whether a bad one of that time counts for nothing, because an operator let it through."""
        return at <= self.accepted_until if at > 0 else self.accepted_until == math.inf

    def bad(self, place: str, example: str, at: float = 0.0) -> None:
        """A bad one came, which was sent at `at` (Unix seconds, 0: unknown). Raises Flood when it is one too many."""
        if self.passes(at):
            return
        with self._lock:
            if not self._bad:
                self._first = place
            self._in_a_row += 1
            self._add(True, 1)
            limits = self._limits
            over = self._seen >= limits.least and self._bad > limits.share * self._seen
            if over or self._in_a_row >= limits.row:
                raise Flood(self.topic, self._first, self._bad, self._seen, example)

    def _add(self, bad: bool, n: int) -> None:
        if self._runs and self._runs[-1].bad == bad:
            self._runs[-1].n += n
        else:
            self._runs.append(_Run(bad, n))
        self._seen += n
        self._bad += n * bad
        while self._seen > self._limits.window:
            oldest = self._runs[0]
            gone = min(oldest.n, self._seen - self._limits.window)
            oldest.n -= gone
            self._seen -= gone
            self._bad -= gone * oldest.bad
            if not oldest.n:
                self._runs.popleft()
