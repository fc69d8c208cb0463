"""Watching processes for hours: their memory and its floor, a line that outliers do not bend, percentiles."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

import psutil

from tests.faults.pipeline import Pipeline

Series = list[tuple[float, float]]
"""(seconds since the beginning, value)"""

FLOOR_SECONDS = 300.0
"""The least that a process holds within so long is what no work of a moment accounts for: a merge of the warehouse
takes a tenth of its memory, and gives it back seconds later. A leak stays, and raises the floor with all the rest."""
LOOK_SECONDS = 0.25
"""How often memory is looked at, at least. The more data there is, the shorter are the warehouse's moments between two
merges: looks that miss them tell how much work there is. Every 5 s they said 194 MiB, where the least was 174."""
_MOST = 300
"""Points that a line is put through: their pairs are looked at."""


def held_bytes(pid: int) -> int:
    """Resident memory of a process without pages of files, where the system tells these apart."""
    found = psutil.Process(pid).memory_info()
    return int(found.rss - getattr(found, "shared", 0))


def slope(series: Series) -> float:
    """Of the line through the points, per second: the median of the slopes of all pairs (Theil and Sen)."""
    step = max(1, len(series) // _MOST)
    some = series[::step]
    pairs = [
        (value - earlier) / (at - before)
        for n, (at, value) in enumerate(some)
        for before, earlier in some[:n]
        if at > before
    ]
    return statistics.median(pairs) if pairs else 0.0


def floor(series: Series, seconds: float = FLOOR_SECONDS) -> Series:
    """The least point of each `seconds` that are whole; the series itself where these are fewer than three."""
    spans: dict[int, tuple[float, float]] = {}
    for point in series:
        span = int((point[0] - series[0][0]) // seconds)
        spans[span] = min(spans.get(span, point), point, key=lambda one: one[1])
    if series and series[-1][0] - series[0][0] < (max(spans) + 1) * seconds - seconds / 10:
        del spans[max(spans)]
    return list(spans.values()) if len(spans) >= 3 else series


def growth_percent_an_hour(series: Series) -> float:
    """The slope, as a share of the median, in percent an hour."""
    middle = statistics.median(value for _, value in series)
    return 100 * 3600 * slope(series) / middle


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Watch:
    """Samples the memory of every process of a pipeline, the broker's too, the lag and the freshness. Memory is what
    only the process can give back: not pages of files, which the kernel takes when it needs them.

    `memory`: bytes by name of the process, every `LOOK_SECONDS`; `lag`: records, and `behind`: seconds, both as often
    as is said. A context manager; its thread only looks.
    """

    def __init__(self, pipeline: Pipeline, every: float) -> None:
        self._pipeline, self._every = pipeline, every
        self.memory: dict[str, Series] = {}
        self.lag: Series = []
        self.behind: Series = []
        self.failures = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="soak", daemon=True)
        self._began = 0.0

    def __enter__(self) -> Watch:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join()

    def growth(self, after: float) -> Mapping[str, float]:
        """Percent an hour of the floor under each process's memory, from `after` seconds on."""
        settled = {name: [one for one in series if one[0] >= after] for name, series in self.memory.items()}
        return {
            name: round(growth_percent_an_hour(floor(series)), 2) for name, series in settled.items() if len(series) > 2
        }

    def _look_on(self) -> None:
        asked = self._began
        while not self._stopping.wait(min(LOOK_SECONDS, self._every)):
            try:
                self._look()
                if time.monotonic() - asked >= self._every:
                    asked = time.monotonic()
                    self._ask(asked - self._began)
            except Exception:
                self.failures += 1  # a server was busy; the next look is soon

    def _look(self) -> None:
        at = time.monotonic() - self._began
        for name, pid in self._pids().items():
            self.memory.setdefault(name, []).append((at, float(held_bytes(pid))))

    def _ask(self, at: float) -> None:
        self.behind.append((at, self._pipeline.behind()))
        self.lag.append((at, float(self._pipeline.lag())))

    def _pids(self) -> dict[str, int]:
        found = {name: process.pid for name, process in self._pipeline.processes.items() if process.alive}
        cluster = self._pipeline.broker.cluster
        for node in cluster.nodes if cluster is not None else ():
            if node.pid is not None:
                found[f"kafka-{node.number}"] = node.pid
        return found
