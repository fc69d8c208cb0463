"""What every model promises. `tests/contracts/models` holds the suite that each implementation must pass.

The promises:
- `predict` changes nothing; the caller predicts first and learns afterwards, never from a label before it arrived.
- `base` plus the sum of `contributions` is the `score`, so every prediction explains itself without a second model.
- Features are named numbers. A missing one (absent, None, NaN, infinite) counts as unknown and contributes nothing; an
  unknown name is ignored. No input makes a result that is not finite.
- The same calls in the same order give the same answers, and so does a model that came back from its snapshot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, Self, runtime_checkable

Features = Mapping[str, float | None]
Space = Literal["log_odds", "score"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer. `score` is in `space`: natural-log odds, or the model's own units for a plain score.

    `probability` is 0..1, and None for models that only score. `tier` is one of the model's declared tiers.
    """

    score: float
    space: Space
    base: float
    contributions: dict[str, float]
    tier: str
    probability: float | None = None

    def top(self, n: int = 3, *, rising: bool = False) -> list[tuple[str, float]]:
        """The `n` features that moved the score most (with `rising`: upwards only), strongest first."""
        items = [(name, value) for name, value in self.contributions.items() if value > 0 or not rising]
        return sorted(items, key=lambda item: (-abs(item[1]), item[0]))[:n]


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model at rest. `data` is plain numbers, text and lists; `river` is a pickle of River objects only.

    River has no stable export format and its pickles hold for one River version only, so the snapshot that carries
    them names that version and is refused by any other. Everything of our own stays in `data`.
    """

    data: dict[str, object]
    river: bytes = b""


@runtime_checkable
class Model(Protocol):
    """An online model; `name` and `version` go with every prediction, `feature_hash` with every snapshot."""

    name: str
    version: str

    @property
    def feature_hash(self) -> str:
        """Changes whenever a stored state no longer fits the declared features."""
        ...

    def predict(self, features: Features) -> Prediction:
        """Answer for `features`; changes nothing."""
        ...

    def learn(self, features: Features, label: float | None) -> None:
        """Learn one example; `label` is None for models that learn without labels."""
        ...

    def to_snapshot(self) -> ModelState:
        """All of the state."""
        ...

    @classmethod
    def from_snapshot(cls, state: ModelState) -> Self:
        """The model that `to_snapshot` described; raises `ValueError`, `KeyError` or `TypeError` when it cannot be."""
        ...


def known(features: Features, names: tuple[str, ...]) -> dict[str, float]:
    """The finite values among `names`, in the order of `names`; everything else is unknown."""
    found: dict[str, float] = {}
    for name in names:
        value = features.get(name)
        if value is not None and math.isfinite(value):
            found[name] = float(value)
    return found


def sigmoid(log_odds: float) -> float:
    """Probability of natural-log odds, without overflow."""
    if log_odds >= 0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    power = math.exp(log_odds)
    return power / (1.0 + power)
