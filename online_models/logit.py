"""Online logistic regression with calibration, whose parts add up: River's scaler and GLM, then Platt scaling.

    log odds = slope * (intercept + sum_i weight_i * scaled_i) + shift

Each term is one contribution, so a prediction explains itself exactly. Scaled values are clipped to +-`CLIP`, so that
one wild input cannot decide alone. A new model starts from a declared prior (mean, spread and weight of a feature,
counted as `PRIOR_WEIGHT` observations), so that it says something sensible before the first label has arrived.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from river import linear_model, optim, preprocessing
from river.utils import VectorDict

from online_models import pickles
from online_models.contract import sigmoid

CLIP: Final = 4.0
PRIOR_WEIGHT: Final = 200
_SLOPE_BOUNDS: Final = (0.25, 4.0)


@dataclass(frozen=True, slots=True)
class Prior:
    """What is assumed of a feature before data: its mean and spread, and its weight per standard deviation."""

    mean: float
    spread: float
    weight: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """Learning rates. `rate` falls as 1/sqrt(1 + n / `half_life`) to `floor`; `l2` pulls weights towards zero."""

    rate: float = 0.01
    half_life: float = 500.0
    floor: float = 0.001
    l2: float = 1e-4
    calibration_rate: float = 0.01


@dataclass(slots=True)
class Platt:
    """Platt scaling learnt online: calibrated = slope * log odds + shift, by gradient steps on the log loss."""

    slope: float = 1.0
    shift: float = 0.0
    learnt: int = 0

    def learn(self, log_odds: float, label: float, rate: float) -> None:
        """One step; steps shrink with the square root of the count, the slope keeps its sign and stays bounded."""
        error = sigmoid(self.slope * log_odds + self.shift) - label
        step = rate / math.sqrt(1.0 + self.learnt / 1_000.0)
        low, high = _SLOPE_BOUNDS
        self.slope = min(max(self.slope - step * error * max(-CLIP, min(CLIP, log_odds)), low), high)
        self.shift = min(max(self.shift - step * error, -CLIP), CLIP)
        self.learnt += 1


@dataclass(frozen=True, slots=True)
class Terms:
    """The log odds of one example, taken apart: `base` + sum of `contributions` = `log_odds`."""

    log_odds: float
    base: float
    contributions: dict[str, float]


class Decay(optim.base.Scheduler):  # type: ignore[misc]
    """Learning rate that falls with the square root of the count and stops at a floor, so that drift is followed."""

    def __init__(self, rate: float, half_life: float, floor: float) -> None:
        self.rate, self.half_life, self.floor = rate, half_life, floor

    def get(self, t: int) -> float:
        return max(self.floor, self.rate / math.sqrt(1.0 + t / self.half_life))


@dataclass(slots=True)
class CalibratedLogit:
    """The learner. Features: finite numbers by name; a name not seen before starts with weight 0."""

    priors: Mapping[str, Prior] = field(default_factory=dict)
    base_rate: float = 0.5
    tuning: Tuning = field(default_factory=Tuning)
    platt: Platt = field(default_factory=Platt)
    learnt: int = 0
    _scaler: Any = None
    _glm: Any = None

    def __post_init__(self) -> None:
        self._scaler, self._glm = _fresh(self.priors, self.base_rate, self.tuning)

    def terms(self, features: Mapping[str, float]) -> Terms:
        """The prediction for `features`, taken apart; changes nothing."""
        weights = self._glm.weights
        slope = self.platt.slope
        base = slope * float(self._glm.intercept) + self.platt.shift
        contributions = {
            name: slope * float(weights.get(name, 0.0)) * value for name, value in self._scaled(features).items()
        }
        return Terms(base + math.fsum(contributions.values()), base, contributions)

    def learn(self, features: Mapping[str, float], label: float) -> None:
        """One example; `label` is 0 or 1. Calibration learns first, on log odds that have not seen this label."""
        self.platt.learn(self._raw(self._scaled(features)), label, self.tuning.calibration_rate)
        self._scaler.learn_one(features)
        self._glm.learn_one(self._scaled(features), bool(label))
        self.learnt += 1

    def river_state(self) -> bytes:
        """The River objects, for this River version only."""
        return pickles.dump((self._scaler, self._glm))

    def plain_state(self) -> dict[str, object]:
        """Everything that is not River's."""
        return {
            "slope": self.platt.slope,
            "shift": self.platt.shift,
            "calibrated": self.platt.learnt,
            "learnt": self.learnt,
        }

    def restore(self, plain: Mapping[str, Any], river: bytes) -> None:
        """Take over a stored state; raises `KeyError`, `TypeError`, `ValueError` or `UnpicklingError`."""
        scaler, glm = pickles.load(river)
        if not isinstance(scaler, preprocessing.StandardScaler) or not isinstance(glm, linear_model.LogisticRegression):
            raise TypeError("the stored River objects are not a scaler and a logistic regression")
        self.platt = Platt(float(plain["slope"]), float(plain["shift"]), int(plain["calibrated"]))
        self.learnt = int(plain["learnt"])
        self._scaler, self._glm = scaler, glm

    def _scaled(self, features: Mapping[str, float]) -> dict[str, float]:
        means, variances = self._scaler.means, self._scaler.vars
        scaled: dict[str, float] = {}
        for name, value in features.items():
            variance = variances.get(name, 0.0)
            z = (value - means[name]) / math.sqrt(variance) if variance > 0 else 0.0
            scaled[name] = max(-CLIP, min(CLIP, z))
        return scaled

    def _raw(self, scaled: Mapping[str, float]) -> float:
        weights = self._glm.weights
        return float(self._glm.intercept) + math.fsum(weights.get(name, 0.0) * z for name, z in scaled.items())


def _fresh(priors: Mapping[str, Prior], base_rate: float, tuning: Tuning) -> tuple[Any, Any]:
    scaler = preprocessing.StandardScaler()
    for name, prior in priors.items():
        scaler.counts[name] = PRIOR_WEIGHT
        scaler.means[name] = prior.mean
        scaler.vars[name] = prior.spread**2
    rate = Decay(tuning.rate, tuning.half_life, tuning.floor)
    glm = linear_model.LogisticRegression(
        optimizer=optim.SGD(rate),
        l2=tuning.l2,
        intercept_init=math.log(base_rate / (1.0 - base_rate)),
        intercept_lr=rate,
    )
    # River has no public way to start from given weights; tests/online_models holds that this one works.
    glm._weights = VectorDict({name: prior.weight for name, prior in priors.items()})
    return scaler, glm
