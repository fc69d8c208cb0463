"""Each check of the suite fails on a model with exactly the defect that it is there for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import model_checks as checks
import pytest
from model_cases import CASES

from online_models.churn import ChurnModel
from online_models.contract import Features, ModelState, Prediction

CHURN = CASES["churn"]


class LearnsWhileAsked(ChurnModel):
    def predict(self, features: Features) -> Prediction:
        found = super().predict(features)
        self.learn(features, 1.0)
        return found


class NeverLearns(ChurnModel):
    def learn(self, features: Features, label: float | None) -> None:
        return None


class NeedsALabelFirst(ChurnModel):
    def predict(self, features: Features) -> Prediction:
        found = super().predict(features)
        return found if self.learnt else replace(found, score=float("nan"))


class ForgetsItsCalibration(ChurnModel):
    def to_snapshot(self) -> ModelState:
        state = super().to_snapshot()
        return ModelState({**state.data, "slope": 1.0}, state.river)


class ExplainsTooMuch(ChurnModel):
    def predict(self, features: Features) -> Prediction:
        found = super().predict(features)
        return replace(found, contributions={name: 1.01 * v for name, v in found.contributions.items()})


class PassesNanOn(ChurnModel):
    def predict(self, features: Features) -> Prediction:
        found = super().predict(features)
        return replace(found, score=found.score + (features.get("recency_days") or 0.0))


class CountsFeatures(ChurnModel):
    def predict(self, features: Features) -> Prediction:
        found = super().predict(features)
        return replace(found, base=found.base + len(features))


class TossesACoin(ChurnModel):
    coins: ClassVar[Any] = itertools.count()

    def learn(self, features: Features, label: float | None) -> None:
        if next(self.coins) % 7:
            super().learn(features, label)


class HasNoName(ChurnModel):
    name = ""


PLANTED = [
    (checks.predict_changes_nothing, LearnsWhileAsked),
    (checks.learning_matters, NeverLearns),
    (checks.predicts_before_it_learns, NeedsALabelFirst),
    (checks.snapshot_round_trip, ForgetsItsCalibration),
    (checks.contributions_sum_to_the_score, ExplainsTooMuch),
    (checks.never_nan, PassesNanOn),
    (checks.unknown_and_missing_features_are_tolerated, CountsFeatures),
    (checks.deterministic, TossesACoin),
    (checks.says_what_it_is, HasNoName),
]


@pytest.mark.parametrize(("check", "broken"), PLANTED, ids=lambda x: x.__name__)
def test_check_catches_its_defect(check: Callable[[checks.Case], None], broken: type[ChurnModel]) -> None:
    with pytest.raises(AssertionError):
        check(replace(CHURN, make=broken))


def test_every_check_has_a_planted_defect() -> None:
    assert [check for check, _ in PLANTED] == list(checks.CHECKS)
