"""Prequential metrics against known answers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from online_models.evaluation import Prequential, auc


def _values(metrics: Prequential) -> dict[str, float]:
    return {m.metric: m.value for m in metrics.measures()}


def test_known_answers() -> None:
    metrics = Prequential()
    metrics.extend([(0.1, 0), (0.4, 0), (0.35, 1), (0.8, 1)])
    found = _values(metrics)
    assert found["auc"] == pytest.approx(0.75)
    assert found["log_loss"] == pytest.approx(-np.mean(np.log([0.9, 0.6, 0.35, 0.8])))
    assert found["brier"] == pytest.approx(np.mean(np.square([0.1, 0.4, 0.65, 0.2])))
    assert found["calibration_error"] == pytest.approx((0.1 + 0.4 + 0.65 + 0.2) / 4)
    assert (found["base_rate"], found["labelled"]) == (0.5, 4)
    assert found["calibration_bin_3_observed"] == 1.0 and found["calibration_bin_3_predicted"] == pytest.approx(0.35)


def test_auc_equals_the_share_of_pairs_in_order_with_ties_as_half() -> None:
    rng = np.random.default_rng(1)
    p, y = rng.integers(0, 8, 60) / 8.0, rng.integers(0, 2, 60)
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(p[y == 1], p[y == 0])]
    assert auc(p, y.astype(float)) == pytest.approx(np.mean(pairs))


def test_what_cannot_be_measured_is_absent() -> None:
    metrics = Prequential()
    assert metrics.measures() == []
    metrics.extend([(0.2, 0), (1.0, 0)])
    found = _values(metrics)
    assert "auc" not in found and math.isfinite(found["log_loss"])
    assert "calibration_bin_5_observed" not in found and found["calibration_bin_9_observed"] == 0.0


def test_the_window_is_bounded_and_the_count_is_not() -> None:
    metrics = Prequential(window=10)
    metrics.extend([(0.9, 0)] * 50 + [(0.9, 1)] * 10)
    found = _values(metrics)
    assert found["base_rate"] == 1.0 and found["labelled"] == 60
    assert {m.n for m in metrics.measures()} == {10}


@pytest.mark.parametrize(("p", "y"), [(-0.1, 0), (1.1, 1), (math.nan, 0), (0.5, 2)])
def test_nonsense_is_refused(p: float, y: int) -> None:
    with pytest.raises(ValueError, match="cannot evaluate"):
        Prequential().update(p, y)


def test_state_round_trip() -> None:
    metrics = Prequential(window=5)
    metrics.extend([(i / 10, i % 2) for i in range(9)])
    restored = Prequential.from_state(metrics.to_state())
    assert restored.measures() == metrics.measures()
