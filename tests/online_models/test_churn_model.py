"""The churn model and the calibrated logistic regression under it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from online_models.churn import FEATURES, NAMES, TIERS, ChurnModel, recommended_action, tier_of
from online_models.logit import CalibratedLogit, Platt, Prior

GONE = {"recency_days": 28.0, "sessions_7d": 0.0, "sessions_30d": 1.0, "active_days_30d": 1.0, "recency_vs_gap": 0.5}
BUSY = {"recency_days": 0.1, "sessions_7d": 9.0, "sessions_30d": 40.0, "active_days_30d": 25.0, "recency_vs_gap": -0.5}


def test_a_model_without_labels_already_ranks_by_its_priors() -> None:
    model = ChurnModel()
    gone, busy = model.predict(GONE), model.predict(BUSY)
    assert gone.probability is not None and busy.probability is not None
    assert gone.probability > 0.4
    assert busy.probability < 0.15
    assert model.predict({}).probability == pytest.approx(0.2)


def test_labels_override_a_wrong_prior() -> None:
    """Here users who were away return, and busy ones are lost."""
    model = ChurnModel()
    for _ in range(3_000):
        model.learn(GONE, 0.0)
        model.learn(BUSY, 1.0)
    assert model.predict(GONE).score < 0 < model.predict(BUSY).score


@pytest.mark.parametrize("label", [None, 2, -1, 0.5, math.nan])
def test_a_label_that_is_neither_0_nor_1_is_refused_and_nothing_learnt(label: float | None) -> None:
    model = ChurnModel()
    with pytest.raises(ValueError, match="0 or 1"):
        model.learn(GONE, label)
    assert model.learnt == 0


def test_tiers_cover_all_probabilities_at_their_thresholds() -> None:
    assert [tier_of(p) for p in (1.0, 0.7, 0.699, 0.5, 0.499, 0.3, 0.299, 0.0)] == [
        "critical", "critical", "high", "high", "medium", "medium", "low", "low",
    ]  # fmt: skip
    assert [lowest for _, lowest in TIERS] == sorted((lowest for _, lowest in TIERS), reverse=True)


def test_the_recommended_action_follows_the_strongest_rising_factor() -> None:
    assert "incentive" in recommended_action(
        {"recency_days": 0.1, "days_since_purchase": 0.9, "spend_30d": -2.0}, "high"
    )
    assert "frequency" in recommended_action({"unsubscribed_some": 0.5}, "medium")
    assert "No action" in recommended_action({"recency_days": 3.0}, "low")
    assert "No action" in recommended_action({"recency_days": -1.0}, "critical")
    assert all(feature.action for feature in FEATURES) and len(set(NAMES)) == len(NAMES)


def test_top_lists_the_strongest_features_first() -> None:
    top = ChurnModel().predict(GONE).top(2)
    assert len(top) == 2 and abs(top[0][1]) >= abs(top[1][1])
    assert all(value > 0 for _, value in ChurnModel().predict(BUSY).top(9, rising=True))


def test_the_logit_recovers_known_weights() -> None:
    """y ~ Bernoulli(sigmoid(2 a - b - 0.5)) with independent standard normal a, b."""
    rng = np.random.default_rng(4)
    model = CalibratedLogit()
    for a, b in rng.normal(size=(20_000, 2)):
        p = 1 / (1 + math.exp(-(2 * a - b - 0.5)))
        model.learn({"a": float(a), "b": float(b)}, float(rng.random() < p))
    terms = model.terms({"a": 1.0, "b": 1.0})
    assert terms.contributions["a"] == pytest.approx(2.0, abs=0.2)
    assert terms.contributions["b"] == pytest.approx(-1.0, abs=0.2)
    assert terms.base == pytest.approx(-0.5, abs=0.2)


def test_platt_scaling_corrects_overconfidence() -> None:
    """Log odds are 3 times too large and 0.7 too high."""
    rng = np.random.default_rng(5)
    platt = Platt()
    for true in rng.normal(0, 1, 40_000):
        label = float(rng.random() < 1 / (1 + math.exp(-true)))
        platt.learn(3.0 * float(true) + 0.7, label, 0.05)
    assert platt.slope == pytest.approx(1 / 3, abs=0.07)
    assert platt.shift == pytest.approx(-0.7 / 3, abs=0.1)


def test_priors_set_rivers_first_weights_and_scales() -> None:
    """River has no public way for it: this test notices when an upgrade changes the private one."""
    terms = CalibratedLogit({"a": Prior(10.0, 2.0, 0.5)}, base_rate=0.2).terms({"a": 14.0})
    assert terms.contributions == {"a": pytest.approx(1.0)}
    assert terms.base == pytest.approx(math.log(0.25))


def test_one_wild_value_is_clipped() -> None:
    model = CalibratedLogit({"a": Prior(0.0, 1.0, 0.5)})
    assert model.terms({"a": 1e300}).contributions["a"] == pytest.approx(2.0)
