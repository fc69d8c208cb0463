"""Seeded chance: identifiers and the few distributions that the business draws from."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


def uuid_from(rng: Random) -> str:
    """The next UUID (version 4 form) of this generator: the same seed gives the same ids."""
    digits = f"{rng.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def poisson(rng: Random, mean: float) -> int:
    """A Poisson count; Knuth's product for small means, the rounded normal approximation above 30."""
    if mean <= 0:
        return 0
    if mean > 30:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


class Weighted(Generic[T]):
    """Draws items by weight; cumulative weights are computed once."""

    def __init__(self, items: Sequence[T], weights: Sequence[float]) -> None:
        self._items, self._cumulative = items, list(accumulate(weights))

    def draw(self, rng: Random) -> T:
        return rng.choices(self._items, cum_weights=self._cumulative)[0]


def held_out(campaign_id: str, user_id: str) -> bool:
    """Whether a user belongs to a campaign's holdout: one user in ten, the same user always, whatever the seed."""
    return zlib.crc32(f"{campaign_id}/{user_id}".encode()) % 10 == 0


def price(rng: Random, mean: float) -> float:
    """An order value with whole cents: log-normal around `mean`, at least one unit."""
    return max(1.0, round(rng.lognormvariate(math.log(mean) - 0.125, 0.5), 2))
