"""River's half-space trees over the residuals of all series of a tenant: an unsupervised second opinion.

The rules of `online_models.anomaly` look at one bucket; this model sees three numbers of it together and learns which
combinations are common. Its score (0 usual .. 1 never seen) rides along with an anomaly, it does not raise one. One
model for all series of a tenant keeps memory bounded. Contributions are exact Shapley values against a bucket that is
exactly as expected, so they add up to the score.
"""

from __future__ import annotations

import hashlib
from itertools import combinations
from math import factorial
from typing import Any, Final, Self, cast

from river import anomaly

from online_models import pickles
from online_models.contract import Features, ModelState, Prediction, Space, known

NAMES: Final = ("deviation", "ratio", "change")
"""Standard deviations from the expectation; log2 of actual over expected; deviation minus the one before."""

_RANGES: Final = {"deviation": 10.0, "ratio": 4.0, "change": 10.0}
_SEED: Final = 7
_QUANTILE: Final = 0.999


class OutlierModel:
    """Half-space trees behind a quantile threshold; see `online_models.contract.Model`. Labels are not used."""

    name: str = "outlier_model"
    version: str = "1.0.0"
    space: Space = "score"

    def __init__(self) -> None:
        trees = anomaly.HalfSpaceTrees(n_trees=10, height=6, window_size=250, seed=_SEED)
        self._filter: Any = anomaly.QuantileFilter(trees, q=_QUANTILE)
        self.learnt = 0

    @property
    def feature_hash(self) -> str:
        return hashlib.sha256(repr((NAMES, sorted(_RANGES.items()))).encode()).hexdigest()[:16]

    def score(self, features: Features) -> float:
        """Score alone, 0..1; 0 until the first 250 examples."""
        return float(self._filter.score_one(_scaled(known(features, NAMES))))

    def predict(self, features: Features) -> Prediction:
        given = known(features, NAMES)
        scores = {
            subset: float(self._filter.score_one(_scaled({name: given[name] for name in subset})))
            for size in range(len(given) + 1)
            for subset in combinations(given, size)
        }
        base, score = scores[()], scores[tuple(given)]
        contributions = {name: _shapley(name, tuple(given), scores) for name in given}
        tier = "outlier" if self._filter.classify(score) else "usual"
        return Prediction(score, self.space, base, contributions, tier)

    def learn(self, features: Features, label: float | None = None) -> None:
        self._filter.learn_one(_scaled(known(features, NAMES)))
        self.learnt += 1

    def to_snapshot(self) -> ModelState:
        return ModelState({"learnt": self.learnt}, pickles.dump(self._filter))

    @classmethod
    def from_snapshot(cls, state: ModelState) -> Self:
        restored = pickles.load(state.river)
        if not isinstance(restored, anomaly.QuantileFilter):
            raise TypeError("the stored River object is not a quantile filter")
        model = cls()
        model._filter = restored
        model.learnt = int(cast("int", state.data["learnt"]))
        return model


def _scaled(given: dict[str, float]) -> dict[str, float]:
    """All features on 0..1; an unknown one is as expected (0.5)."""
    scaled = {}
    for name in NAMES:
        reach = _RANGES[name]
        scaled[name] = (max(-reach, min(reach, given.get(name, 0.0))) + reach) / (2 * reach)
    return scaled


def _shapley(name: str, names: tuple[str, ...], scores: dict[tuple[str, ...], float]) -> float:
    others = [other for other in names if other != name]
    total = 0.0
    for size in range(len(others) + 1):
        weight = factorial(size) * factorial(len(names) - size - 1) / factorial(len(names))
        for subset in combinations(others, size):
            joined = tuple(n for n in names if n in subset or n == name)
            total += weight * (scores[joined] - scores[subset])
    return total
