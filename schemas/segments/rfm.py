"""RFM clusters: boxes of scores that cover every combination exactly once, checked at start."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.taxonomy.packfile import Name, Text
from schemas.taxonomy.yamlfile import conform, read

SHIPPED: Final = Path(__file__).with_name("clusters.yaml")
SCORES: Final = range(1, 6)
Scores = tuple[int, int, int]
"""r, f and m, each from 1 to 5."""


def _ordered(value: list[int]) -> list[int]:
    if value[0] > value[1]:
        raise ValueError("must go from the lower to the higher score")
    return value


Range = Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=2, max_length=2), AfterValidator(_ordered)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Box(_Strict):
    """Ranges of scores, both ends included."""

    r: Range
    f: Range
    m: Range

    def holds(self, scores: Scores) -> bool:
        """Whether a combination lies inside."""
        return all(low <= one <= high for one, (low, high) in zip(scores, (self.r, self.f, self.m), strict=True))


class Cluster(_Strict):
    """A named set of combinations."""

    name: Text
    description: Text
    boxes: Annotated[list[Box], Field(min_length=1, max_length=125)]

    def holds(self, scores: Scores) -> bool:
        """Whether a combination lies in one of the boxes."""
        return any(box.holds(scores) for box in self.boxes)


class Clusters(_Strict):
    """The file: clusters by id, in reading order. Every combination of scores lies in exactly one.

    `window_days`: the orders that are looked at where nobody says from when on.
    """

    window_days: Annotated[int, Field(ge=1, le=3650)]
    clusters: Annotated[dict[Name, Cluster], Field(min_length=1, max_length=125)]

    @model_validator(mode="after")
    def _partition(self) -> Clusters:
        for scores in combinations():
            found = self.holding(scores)
            if len(found) != 1:
                text = ", ".join(f"{name} {one}" for name, one in zip("rfm", scores, strict=True))
                raise ValueError(f"{text} lies in {' and '.join(found) or 'no cluster'}; it must lie in exactly one")
        return self

    def holding(self, scores: Scores) -> list[str]:
        """The ids of the clusters that hold a combination: one."""
        return [name for name, cluster in self.clusters.items() if cluster.holds(scores)]

    def by_scores(self) -> Mapping[Scores, str]:
        """The cluster of each of the 125 combinations."""
        return {scores: self.holding(scores)[0] for scores in combinations()}


def combinations() -> list[Scores]:
    """All 125 combinations of scores."""
    return list(product(SCORES, SCORES, SCORES))


def load_clusters(path: Path) -> Clusters:
    """The clusters in `path`; raises ConfigError naming file, line and key."""
    return conform(Clusters, read(path))


@cache
def shipped_clusters() -> Clusters:
    """The clusters that ship with Headrace."""
    return load_clusters(SHIPPED)
