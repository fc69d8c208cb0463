"""Churn: will this user be lost within 30 days? One model per tenant, features as of a moment, labels 30 days later.

A user is *churned* when, in the `HORIZON_DAYS` after the moment, there is neither activity nor a purchase, or the user
unsubscribed from everything. Features are declared below once: how each is transformed, and what is assumed of it
before any label has arrived (spreads and weights are rough domain knowledge; data overrides them within a few hundred
labels). Contributions are in log odds: weight times scaled value, times the slope of the calibration.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, cast

from online_models.contract import Features, ModelState, Prediction, Space, known, sigmoid
from online_models.logit import CalibratedLogit, Prior, Tuning

HORIZON_DAYS: Final = 30
CHANNELS: Final = ("push", "email", "sms", "in_app")
BASE_RATE: Final = 0.2
"""Share of active users assumed to be lost in 30 days, until labels say otherwise."""

TIERS: Final = (("critical", 0.7), ("high", 0.5), ("medium", 0.3), ("low", 0.0))
"""Tiers with the lowest probability of each, highest first."""

Transform = Callable[[float], float]


def _log(value: float) -> float:
    return math.log1p(max(value, 0.0))


def _as_is(value: float) -> float:
    return max(-1e6, min(1e6, value))


@dataclass(frozen=True, slots=True)
class Feature:
    """One declared feature. `action`: what to do when it is what drives the risk."""

    name: str
    transform: Transform
    prior: Prior
    action: str


_RETURN = "Send a reminder of what is new since the last visit, on the channel this user opens most."
_REORDER = "Offer an incentive on the category bought last, valid for a few days."
_WELCOME = "Send the guided first steps again; the first weeks decide."
_CHANNEL = "Change the channel or the subject: messages arrive but are not opened."
_CONSENT = "Ask for the preferred frequency and topics instead of sending more."
_VALUE = "Show the rewards collected so far and the next one within reach."
_NONE = "No action: the risk is low."


def _features() -> tuple[Feature, ...]:
    return (
        Feature("recency_days", _log, Prior(1.5, 0.9, 0.55), _RETURN),
        Feature("recency_vs_gap", _as_is, Prior(0.0, 0.9, 0.25), _RETURN),
        Feature("days_since_purchase", _log, Prior(2.7, 1.0, 0.15), _REORDER),
        Feature("never_purchased", _as_is, Prior(0.4, 0.5, 0.1), _WELCOME),
        Feature("days_since_signup", _log, Prior(4.0, 1.2, -0.1), _WELCOME),
        Feature("purchases_30d", _log, Prior(0.6, 0.6, -0.1), _REORDER),
        Feature("purchases_90d", _log, Prior(1.0, 0.8, -0.1), _REORDER),
        Feature("spend_30d", _log, Prior(1.8, 2.0, -0.05), _VALUE),
        Feature("spend_90d", _log, Prior(2.7, 2.2, -0.05), _VALUE),
        Feature("purchase_trend", _as_is, Prior(0.0, 0.6, -0.1), _REORDER),
        Feature("spend_trend", _as_is, Prior(0.0, 1.5, -0.05), _VALUE),
        Feature("sessions_7d", _log, Prior(0.9, 0.8, -0.2), _RETURN),
        Feature("sessions_30d", _log, Prior(1.9, 0.9, -0.15), _RETURN),
        Feature("active_days_30d", _log, Prior(1.8, 0.8, -0.35), _RETURN),
        Feature("engagement_trend", _as_is, Prior(0.0, 0.7, -0.2), _RETURN),
        *(Feature(f"delivered_{name}_30d", _log, Prior(1.0, 0.9, 0.0), _CHANNEL) for name in CHANNELS),
        *(Feature(f"opened_{name}_30d", _log, Prior(0.5, 0.7, -0.05), _CHANNEL) for name in CHANNELS),
        Feature("open_rate_30d", _as_is, Prior(0.3, 0.3, -0.1), _CHANNEL),
        Feature("clicks_30d", _log, Prior(0.4, 0.6, -0.1), _CHANNEL),
        Feature("unsubscribed_some", _as_is, Prior(0.05, 0.22, 0.15), _CONSENT),
        Feature("unsubscribed_all", _as_is, Prior(0.02, 0.14, 0.15), _CONSENT),
    )


FEATURES: Final = _features()
NAMES: Final = tuple(feature.name for feature in FEATURES)
_BY_NAME: Final = {feature.name: feature for feature in FEATURES}


def tier_of(probability: float) -> str:
    """The tier of a probability (0..1)."""
    return next(name for name, lowest in TIERS if probability >= lowest)


def recommended_action(contributions: Mapping[str, float], tier: str) -> str:
    """One sentence: what to do about the feature that raises this user's risk most."""
    rising = [(value, name) for name, value in contributions.items() if value > 0 and name in _BY_NAME]
    if tier == "low" or not rising:
        return _NONE
    return _BY_NAME[max(rising)[1]].action


class ChurnModel:
    """Calibrated online logistic regression over `FEATURES`; see `online_models.contract.Model`."""

    name: str = "churn_model"
    version: str = "1.0.0"
    space: Space = "log_odds"

    def __init__(self, tuning: Tuning | None = None) -> None:
        priors = {feature.name: feature.prior for feature in FEATURES}
        self._logit = CalibratedLogit(priors, BASE_RATE, tuning or Tuning())

    @property
    def learnt(self) -> int:
        """Labels learnt so far; 0 means that the model still says what its priors say."""
        return self._logit.learnt

    @property
    def feature_hash(self) -> str:
        declared = [(feature.name, feature.transform.__name__) for feature in FEATURES]
        return hashlib.sha256(json.dumps(declared).encode()).hexdigest()[:16]

    def predict(self, features: Features) -> Prediction:
        terms = self._logit.terms(_encode(features))
        probability = sigmoid(terms.log_odds)
        return Prediction(
            terms.log_odds, self.space, terms.base, terms.contributions, tier_of(probability), probability
        )

    def learn(self, features: Features, label: float | None) -> None:
        """Learn one user; raises `ValueError` when `label` is neither 0 nor 1, and then changes nothing."""
        if label not in (0, 1):
            raise ValueError(f"a churn label is 0 or 1, not {label!r}; leave out users whose label is not known yet")
        self._logit.learn(_encode(features), float(label))

    def to_snapshot(self) -> ModelState:
        return ModelState(self._logit.plain_state(), self._logit.river_state())

    @classmethod
    def from_snapshot(cls, state: ModelState) -> Self:
        model = cls()
        model._logit.restore(cast("Mapping[str, Any]", state.data), state.river)
        return model


def _encode(features: Features) -> dict[str, float]:
    return {name: _BY_NAME[name].transform(value) for name, value in known(features, NAMES).items()}
