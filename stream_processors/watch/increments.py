"""What Prometheus counters of one endpoint grew by, look by look. Pure: times are arguments."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from typing import Final

MAX_PROCESSES: Final = 64
"""Processes behind one address that are told apart; beyond it the one not seen for longest is forgotten."""


class Increments:
    """Totals in, increments out; keeps `keep` seconds of them.

    A counter only grows while its process lives. Which process answered is known by its start time, so several behind
    one address (a shared port, a balancer) do not look like resets of each other. What a process counted before the
    first look is not ours to tell; one that began later is counted from zero. Without a start time, a total that went
    down says that the process is another one, which is counted from zero.
    """

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._first: float | None = None
        self._totals: OrderedDict[float | None, Mapping[str, float]] = OrderedDict()
        self._steps: deque[tuple[float, Counter[str]]] = deque()

    def add(self, started: float | None, totals: Mapping[str, float], now: float) -> None:
        """Take the totals by label as they stand at `now`. `started`: Unix seconds, None when the page has none."""
        before = self._totals.pop(started, None)
        if before is None:
            ours = self._first is not None and started is not None and started >= self._first
            before = {} if ours else totals
        self._first = now if self._first is None else self._first
        self._totals[started] = dict(totals)
        while len(self._totals) > MAX_PROCESSES:
            self._totals.popitem(last=False)
        grown = _grown(before, totals)
        if grown:
            self._steps.append((now, grown))
        while self._steps and self._steps[0][0] <= now - self._keep:
            self._steps.popleft()

    def over(self, window: float, now: float) -> Counter[str]:
        """The sum by label of what was seen to grow within `window` seconds before `now`."""
        found: Counter[str] = Counter()
        for at, grown in reversed(self._steps):
            if at <= now - window:
                break
            found.update(grown)
        return found


def _grown(before: Mapping[str, float], totals: Mapping[str, float]) -> Counter[str]:
    restarted = any(totals.get(label, 0.0) < total for label, total in before.items())
    base = {} if restarted else before
    return Counter({label: n for label, total in totals.items() if (n := round(total - base.get(label, 0.0))) > 0})
