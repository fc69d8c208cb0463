"""How far attribution models disagree, as a metric: between the most and the least that one of them credits.

Every model credits the same orders as a whole, so the gaps of all campaigns, added up, are held against the revenue
that was credited. Orders lie in the range; their touches before it count, as in `GET /attribution` without parameters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from api.attribution.asked import DAY_MS, Asked, By
from api.attribution.journeys import REVENUE, read_journeys
from api.attribution.models import Rules, credited
from api.problems import invalid
from api.reader import Reader
from api.slices import Slice, following
from schemas.attribution import shipped_attribution
from schemas.metrics import Dimension
from schemas.taxonomy.pack import Pack
from schemas.wire import MICROS

MODELS: Final = ("first", "last", "linear", "time_decay")
"""Those that the specification compares."""
SPREAD: Final = frozenset({"credit_gap", "credited_revenue"})
"""Measures that a metric may name."""
MOST_POINTS: Final = 100
"""Points of a series, each of which is a walk over its own orders."""

Credited = Mapping[str, Sequence[Fraction]]
"""By campaign, the revenue (millionths) that each model credits to it."""


@dataclass(frozen=True)
class Spreads:
    """What each campaign is credited, by point; None: the whole range."""

    points: Mapping[int | None, Credited]

    def groups(self) -> set[str]:
        """The campaigns that any model credits."""
        return {group for found in self.points.values() for group in found}

    def at(self, group: str | None, point: int | None) -> dict[str, Any]:
        """`value` in percent; as `numerator` the gap, as `denominator` the mean revenue; by model in `models`."""
        found = self.points.get(point, {})
        some = [credit for name, credit in found.items() if group in (None, name)]
        gap = sum((max(one) - min(one) for one in some), Fraction(0))
        sums = [sum((one[at] for one in some), Fraction(0)) for at in range(len(MODELS))]
        mean = sum(sums, Fraction(0)) / len(MODELS)
        return {
            "value": float(gap / mean * 100) if mean else None,
            "numerator": float(gap / MICROS),
            "denominator": float(mean / MICROS),
            "models": {model: float(micros / MICROS) for model, micros in zip(MODELS, sums, strict=True)},
        }


def known_to(pack: Pack) -> bool:
    """Whether a pack declares orders, and touches of campaigns."""
    rules = shipped_attribution()
    touches = rules.touches[rules.default_touch].roles
    return bool(pack.roles.get("purchase")) and any(pack.roles.get(role) for role in touches)


async def read_spreads(reader: Reader, asked: Slice, pack: Pack, points: Sequence[int]) -> Spreads:
    """The credit in the range and in each point of it. Raises what the reader raises, and a 422 for too many points."""
    if len(points) > MOST_POINTS:
        raise invalid("interval", f"gives more than {MOST_POINTS} points, which is the most for this metric")
    found: dict[int | None, Credited] = {None: await _credit(reader, asked, pack)}
    for point in points if asked.interval else ():
        end = min(following(asked.interval, point), asked.end_ms) if asked.interval else asked.end_ms
        part = replace(asked, start_ms=max(point, asked.start_ms), end_ms=end)
        found[point] = await _credit(reader, part, pack)
    return Spreads(found)


async def _credit(reader: Reader, asked: Slice, pack: Pack) -> Credited:
    rules = shipped_attribution()
    half_life = rules.half_life_days.default
    whole = Asked(
        replace(asked, filters={}, group_by=None, interval=None),
        pack,
        By.CAMPAIGN,
        rules.default_touch,
        round(rules.lookback_days.default * DAY_MS),
        round(half_life * DAY_MS),
        rules,
    )
    journeys = await read_journeys(reader, whole)
    shares = Rules(half_life, Fraction(rules.position_percent.first, 100), Fraction(rules.position_percent.last, 100))
    found = (await asyncio.to_thread(credited, journeys.paths, MODELS, shares)).models
    only = asked.filters.get(Dimension.CAMPAIGN)
    return {
        group: [found[model][group][REVENUE] for model in MODELS]
        for group in found["first"]
        if only in (None, group) and any(found[model][group][REVENUE] for model in MODELS)
    }
