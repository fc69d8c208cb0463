"""Prequential evaluation: how good the predictions were that were really made, measured when their labels arrived.

Everything is computed over a bounded window of the latest labelled predictions; `seen` counts all of them. Metrics
that a window cannot support (no examples, or only one class for AUC) are absent, never 0 and never NaN.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

WINDOW: Final = 20_000
BINS: Final = 10
_FLOOR: Final = 1e-15

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric over `n` labelled predictions."""

    metric: str
    value: float
    n: int


class Prequential:
    """The latest `window` pairs of probability (0..1) and label (0 or 1)."""

    def __init__(self, window: int = WINDOW) -> None:
        self.seen = 0
        self._pairs: deque[tuple[float, int]] = deque(maxlen=window)

    def update(self, probability: float, label: int) -> None:
        """One prediction whose label arrived; raises `ValueError` outside 0..1 or for another label."""
        if not 0.0 <= probability <= 1.0 or label not in (0, 1):
            raise ValueError(f"cannot evaluate probability {probability!r} with label {label!r}")
        self._pairs.append((probability, label))
        self.seen += 1

    def measures(self) -> list[Measure]:
        """auc, log_loss, brier, calibration_error, base_rate, mean_probability, labelled, and the calibration bins.

        Bins are of equal width; `calibration_bin_3_observed` is the share of churned users among predictions in
        [0.3, 0.4), `calibration_bin_3_predicted` their mean probability. Empty bins are absent.
        """
        if not self._pairs:
            return []
        pairs = np.array(self._pairs, dtype=np.float64)
        p, y = pairs[:, 0], pairs[:, 1]
        n = len(y)
        bins = calibration(p, y)
        found = {
            "log_loss": float(np.mean(_losses(p, y))),
            "brier": float(np.mean((p - y) ** 2)),
            "calibration_error": math.fsum(count * abs(said - was) for _, said, was, count in bins) / n,
            "base_rate": float(y.mean()),
            "mean_probability": float(p.mean()),
            "labelled": float(self.seen),
        }
        area = auc(p, y)
        rows = [Measure("auc", area, n)] if area is not None else []
        rows += [Measure(metric, value, n) for metric, value in found.items()]
        for index, said, was, count in bins:
            rows.append(Measure(f"calibration_bin_{index}_predicted", said, count))
            rows.append(Measure(f"calibration_bin_{index}_observed", was, count))
        return rows

    def to_state(self) -> dict[str, object]:
        """The window as plain lists."""
        return {
            "window": self._pairs.maxlen,
            "seen": self.seen,
            "p": [p for p, _ in self._pairs],
            "y": [y for _, y in self._pairs],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Inverse of `to_state`; raises `KeyError`, `TypeError` or `ValueError` when it is not one."""
        restored = cls(int(state["window"]))
        restored.extend(zip(state["p"], state["y"], strict=True))
        restored.seen = int(state["seen"])
        return restored

    def extend(self, pairs: Iterable[tuple[float, int]]) -> None:
        """Several updates, in order."""
        for probability, label in pairs:
            self.update(probability, label)


def auc(p: Floats, y: Floats) -> float | None:
    """Exact area under the ROC curve with ties counted half (Mann-Whitney U); None with fewer than two classes."""
    positives = int(y.sum())
    negatives = len(y) - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2.0)[inverse]
    u = float(ranks[y == 1].sum()) - positives * (positives + 1) / 2.0
    return u / (positives * negatives)


def calibration(p: Floats, y: Floats, bins: int = BINS) -> list[tuple[int, float, float, int]]:
    """(bin, mean probability, observed share, count) of every non-empty bin of equal width."""
    index = np.minimum((p * bins).astype(np.int64), bins - 1)
    found = []
    for number in range(bins):
        inside = index == number
        count = int(inside.sum())
        if count:
            found.append((number, float(p[inside].mean()), float(y[inside].mean()), count))
    return found


def _losses(p: Floats, y: Floats) -> Floats:
    said = np.where(y == 1, p, 1.0 - p)
    losses: Floats = -np.log(np.maximum(said, _FLOOR))
    return losses
