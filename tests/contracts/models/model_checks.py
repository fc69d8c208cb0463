"""The suite that every online model must pass: `CHECKS`. Each check raises AssertionError on a broken promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from online_models.contract import Features, Model


@dataclass(frozen=True)
class Case:
    """A model under test: how to make one, and examples (features, label) in the order of the stream."""

    make: Callable[[], Model]
    examples: list[tuple[Features, float | None]]

    def trained(self) -> Model:
        model = self.make()
        for features, label in self.examples:
            model.learn(features, label)
        return model

    @property
    def probes(self) -> list[Features]:
        return [features for features, _ in self.examples[-20:]]


def _answers(model: Model, case: Case) -> list[tuple[float, float, tuple[tuple[str, float], ...]]]:
    found = [model.predict(features) for features in case.probes]
    return [(p.score, p.base, tuple(p.contributions.items())) for p in found]


def predict_changes_nothing(case: Case) -> None:
    model = case.trained()
    before = model.to_snapshot()
    first = _answers(model, case)
    assert _answers(model, case) == first, "asking twice gave two answers"
    assert model.to_snapshot().data == before.data, "predict changed the state"
    other = case.trained()
    for features, label in case.examples[:50]:
        other.predict(features)
        assert label is None or label in (0, 1)
    assert _answers(other, case) == first, "asking first changed later answers"


def learning_matters(case: Case) -> None:
    assert _answers(case.make(), case) != _answers(case.trained(), case), "learning changed no answer"


def predicts_before_it_learns(case: Case) -> None:
    prediction = case.make().predict(case.examples[0][0])
    assert math.isfinite(prediction.score), "a new model must answer"


def snapshot_round_trip(case: Case) -> None:
    model = case.trained()
    restored = type(model).from_snapshot(model.to_snapshot())
    for features in case.probes:
        was, now = model.predict(features), restored.predict(features)
        assert abs(was.score - now.score) <= 1e-12, "the restored model answers otherwise"
        assert was.tier == now.tier
    for features, label in case.examples[-20:]:
        model.learn(features, label)
        restored.learn(features, label)
    assert _answers(model, case) == _answers(restored, case), "the restored model learns otherwise"


def contributions_sum_to_the_score(case: Case) -> None:
    model = case.trained()
    for features in case.probes:
        p = model.predict(features)
        total = p.base + math.fsum(p.contributions.values())
        assert abs(total - p.score) <= 1e-9 * max(1.0, abs(p.score)), f"{total} is not {p.score}"
        if p.space == "log_odds":
            assert p.probability is not None
            assert abs(1.0 / (1.0 + math.exp(-p.score)) - p.probability) <= 1e-12, "probability is not of this score"


WILD = (math.nan, math.inf, -math.inf, 1e308, -1e308, 0.0, None)


def never_nan(case: Case) -> None:
    model = case.trained()
    for features in case.probes[:5]:
        for value in WILD:
            for name in features:
                _finite(model, {**features, name: value})
            _finite(model, dict.fromkeys(features, value))
    for features, label in case.examples[-5:]:
        for value in WILD:
            model.learn(dict.fromkeys(features, value), label)
    for features in case.probes:
        _finite(model, features)


def _finite(model: Model, features: Features) -> None:
    p = model.predict(features)
    numbers = [p.score, p.base, *p.contributions.values(), p.probability or 0.0]
    assert all(map(math.isfinite, numbers)), f"not finite for {features}"
    assert p.probability is None or 0.0 <= p.probability <= 1.0


def unknown_and_missing_features_are_tolerated(case: Case) -> None:
    model = case.trained()
    for features in case.probes:
        plain = model.predict(features)
        assert model.predict({**features, "never_heard_of": 5.0}) == plain, "an unknown feature changed the answer"
        for name in features:
            rest = {other: value for other, value in features.items() if other != name}
            p = model.predict(rest)
            assert p.contributions.get(name, 0.0) == 0.0, f"missing {name} contributes"
            assert model.predict({**rest, name: None}) == p, "None is not the same as missing"
    model.predict({})


def deterministic(case: Case) -> None:
    assert _answers(case.trained(), case) == _answers(case.trained(), case), "the same stream gave other answers"


def says_what_it_is(case: Case) -> None:
    model = case.make()
    assert isinstance(model, Model)
    assert model.name and model.version and model.feature_hash == case.make().feature_hash


CHECKS = (
    predict_changes_nothing,
    learning_matters,
    predicts_before_it_learns,
    snapshot_round_trip,
    contributions_sum_to_the_score,
    never_nan,
    unknown_and_missing_features_are_tolerated,
    deterministic,
    says_what_it_is,
)
