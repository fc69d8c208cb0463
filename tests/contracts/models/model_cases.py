"""Every model with a stream of examples for the suite."""

from __future__ import annotations

import math

import numpy as np
from model_checks import Case

from online_models.anomaly import SeriesDetector
from online_models.churn import NAMES, ChurnModel
from online_models.outlier import OutlierModel


def _churn() -> Case:
    rng = np.random.default_rng(1)
    examples = []
    for _ in range(600):
        features = {name: float(v) for name, v in zip(NAMES, rng.gamma(1.0, 3.0, len(NAMES)), strict=True)}
        risk = 1 / (1 + math.exp(-(0.4 * features["recency_days"] - 0.5 * features["sessions_7d"])))
        examples.append((features, float(rng.random() < risk)))
    return Case(ChurnModel, examples)


def _outlier() -> Case:
    rng = np.random.default_rng(2)
    rows = rng.normal(0, 1, (600, 3))
    return Case(
        OutlierModel, [({"deviation": float(a), "ratio": float(b), "change": float(c)}, None) for a, b, c in rows]
    )


def _series() -> Case:
    rng = np.random.default_rng(3)
    values = rng.poisson(50, 5 * 288)
    start = 1_750_000_200
    return Case(SeriesDetector, [({"time": start + 300.0 * i, "value": float(v)}, None) for i, v in enumerate(values)])


CASES = {"churn": _churn(), "outlier": _outlier(), "series": _series()}
