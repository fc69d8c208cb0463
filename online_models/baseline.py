"""What a metric usually is at this time of day: minute values of the last days, and robust expectations from them.

Values are absolute per minute, so writing one twice, or correcting it, is harmless. A minute that was never written is
0 for counts and amounts (once the series has begun) and unknown for gauges. Buckets are `bucket_minutes` long and
numbered from 1970; times of day are UTC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["count", "amount", "gauge"]
"""count: whole numbers that add up; amount: money and the like, adds up; gauge: a ratio or level, averaged."""

MINUTES_PER_DAY: Final = 1440
MAD_TO_SIGMA: Final = 1.4826
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Baseline:
    """One bucket: median and 1.4826 * MAD of the same time of day (+-1 bucket) on `days` earlier days."""

    expected: float
    sigma: float
    days: int


class MinuteSeries:
    """A ring of `days` + 1 days of minute values: 8 bytes a minute, 92 KB for 7 days."""

    def __init__(self, kind: Kind = "count", *, bucket_minutes: int = 5, days: int = 7) -> None:
        if MINUTES_PER_DAY % bucket_minutes:
            raise ValueError(f"buckets of {bucket_minutes} minutes do not divide a day; use for example 1, 5, 15 or 60")
        self.kind, self.bucket_minutes, self.days = kind, bucket_minutes, days
        self.per_day = MINUTES_PER_DAY // bucket_minutes
        self.first: int | None = None
        self.newest = 0
        self._empty = math.nan if kind == "gauge" else 0.0
        self._ring: Floats = np.full((days + 1) * MINUTES_PER_DAY, self._empty)
        self._same_time: Ints = np.array([[-d * self.per_day + s for s in (-1, 0, 1)] for d in range(1, days + 1)])

    def put(self, minute: int, value: float) -> bool:
        """Set a minute (minutes since 1970); False, changing nothing, when it is not finite or older than the ring."""
        size = len(self._ring)
        if not math.isfinite(value) or (self.first is not None and minute <= self.newest - size):
            return False
        if self.first is None:
            self.first = self.newest = minute
        elif minute > self.newest:
            gap = min(minute - self.newest, size)
            self._ring[np.arange(minute - gap + 1, minute + 1) % size] = self._empty
            self.newest = minute
        self.first = min(self.first, minute)
        self._ring[minute % size] = value
        return True

    def value(self, minute: int) -> float:
        """What a minute is set to; 0 where it was never set, or lies outside the ring."""
        if self.first is None or not self.newest - len(self._ring) < minute <= self.newest:
            return 0.0
        return float(np.nan_to_num(self._ring[minute % len(self._ring)]))

    def idle(self) -> bool:
        """Nothing but zeros (or nothing known) in the whole ring."""
        return not np.any(np.nan_to_num(self._ring))

    def bucket(self, number: int) -> float:
        """Value of a bucket so far: the sum of its minutes (gauges: their mean); NaN where unknown."""
        return float(self.buckets(np.array([number]))[0])

    def buckets(self, numbers: Ints) -> Floats:
        """Values of several buckets, in the shape of `numbers`."""
        if self.first is None:
            return np.full(numbers.shape, math.nan)
        minutes = numbers[..., None] * self.bucket_minutes + np.arange(self.bucket_minutes)
        size = len(self._ring)
        values = np.where(minutes > self.newest, self._empty, self._ring[minutes % size])
        begun = max(self.first, self.newest - size + 1)
        if self.kind == "gauge":
            known = ~np.isnan(values)
            sums, counts = np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1)
            values = np.where(counts > 0, sums / np.maximum(counts, 1), math.nan)
        else:
            values = values.sum(axis=-1)
        return np.where(minutes[..., 0] < begun, math.nan, values)

    def baseline(self, number: int, min_days: int) -> Baseline | None:
        """Expectation of bucket `number` from the days before it; None with fewer than `min_days` of them."""
        values = self.buckets(number + self._same_time)
        days = int((~np.isnan(values[:, 1])).sum())
        if days < min_days:
            return None
        known = values[~np.isnan(values)]
        expected = float(np.median(known))
        return Baseline(expected, MAD_TO_SIGMA * float(np.median(np.abs(known - expected))), days)

    def noise(self, before: int, min_days: int) -> float | None:
        """How far buckets of the last days usually lie from their own expectation (a robust standard deviation).

        Each whole day before bucket `before` is compared with the medians of the *other* days. For counts and amounts
        the difference is divided by the square root of the expectation first. None with too few whole days.
        """
        days = self._whole_days(before)
        if days is None or len(days) < min_days:
            return None
        shifted = np.stack([days, np.roll(days, 1, axis=1), np.roll(days, -1, axis=1)], axis=1)
        differences = []
        for index in range(len(days)):
            others = np.delete(shifted, index, axis=0).reshape(-1, self.per_day)
            expected = median(others)
            scale = 1.0 if self.kind == "gauge" else np.sqrt(np.maximum(expected, self._smallest(expected)))
            differences.append((days[index] - expected) / scale)
        off = np.concatenate(differences)
        off = np.abs(off[~np.isnan(off)])
        if not len(off):
            return None
        robust = MAD_TO_SIGMA * float(np.median(off))
        return robust or float(np.sqrt(np.mean(off**2)))

    def to_state(self) -> dict[str, object]:
        """The values, as they are."""
        return {"first": self.first, "newest": self.newest, "ring": self._ring.tobytes()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `to_state`; raises `ValueError` when the ring has another size."""
        ring = np.frombuffer(state["ring"], dtype=np.float64)
        if len(ring) != len(self._ring):
            raise ValueError(f"the stored series has {len(ring)} minutes, not {len(self._ring)}")
        self._ring, self.first, self.newest = ring.copy(), state["first"], state["newest"]

    def _whole_days(self, before: int) -> Floats | None:
        wanted = np.arange(before - self.days * self.per_day, before).reshape(self.days, self.per_day)
        values = self.buckets(wanted)
        whole = ~np.isnan(values).all(axis=1) if self.kind == "gauge" else ~np.isnan(values).any(axis=1)
        return values[whole] if whole.any() else None

    def _smallest(self, expected: Floats) -> float:
        return 1.0 if self.kind == "count" else max(float(np.nanmean(expected)) * 0.05, 1e-9)


def median(values: Floats) -> Floats:
    """Median along the first axis, of what is known; NaN where nothing is."""
    ordered = np.sort(values, axis=0)
    known = (~np.isnan(values)).sum(axis=0)
    low = np.take_along_axis(ordered, np.maximum((known - 1) // 2, 0)[None], axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(known // 2, len(values) - 1)[None], axis=0)[0]
    return np.where(known > 0, (low + high) / 2.0, math.nan)
