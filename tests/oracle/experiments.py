"""How sure an experiment is, by the textbook: from what each single user bought and paid, campaign by campaign.

The difference of two independent means has the sum of their variances; a share is a mean of zeros and ones. A quotient
of two independent sums has, to first order, the squares of their relative errors added up. Both in the normal
approximation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from statistics import NormalDist
from typing import NamedTuple

from tests.oracle.facts import Fact
from tests.oracle.metrics import MICROS, Arms, Oracle, Scope, arms

HALF_WIDTH = NormalDist().inv_cdf(0.975)
"""Standard errors from the value to either end of a 95 % interval."""


class Certainty(NamedTuple):
    """How many users an experiment is by, the ends of its 95 % interval, and its two-sided p-value."""

    treated_users: int
    control_users: int
    low: float | None
    high: float | None
    p_value: float | None


def certainty(oracle: Oracle, metric: str, scope: Scope) -> Certainty:
    """Of one of the three metrics of experiments; without a value nothing but the users is known."""
    found = arms(oracle, scope)
    users = sum(len(one.treated) for one in found.values()), sum(len(one.control) for one in found.values())
    value = oracle.answer(metric, scope).value
    if value is None:
        return Certainty(*users, None, None, None)
    if metric == "net_incremental_revenue":
        variance = _variance_of_revenue(found)
        error, difference = math.sqrt(variance), value * MICROS
        width = error / MICROS
    else:
        expected, got, of_expected, of_got = _conversions(found)
        difference, variance = got - expected, of_expected + of_got
        below, share = (users[0], Fraction(1)) if metric == "holdout_lift" else (got, expected / got)
        width = 100 * math.sqrt(of_expected + share**2 * of_got) / float(below)
    p_value = math.erfc(abs(float(difference)) / math.sqrt(2 * variance)) if variance else None
    return Certainty(*users, float(value) - HALF_WIDTH * width, float(value) + HALF_WIDTH * width, p_value)


def _conversions(found: Mapping[str, Arms]) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """Treated buyers as those held out let expect, and as there were; and the variance of either."""
    expected = got = of_expected = of_got = Fraction(0)
    for treated, control in found.values():
        bought, unmoved = ([Fraction(bool(orders)) for orders in side.values()] for side in (treated, control))
        expected += len(bought) * _mean(unmoved)
        got += sum(bought)
        of_expected += Fraction(len(bought) ** 2, len(unmoved)) * _mean(_squares(unmoved))
        of_got += len(bought) * _mean(_squares(bought))
    return expected, got, of_expected, of_got


def _variance_of_revenue(found: Mapping[str, Arms]) -> Fraction:
    """Of what the treated users paid beyond as many held out ones, millionths squared."""
    variance = Fraction(0)
    for campaign in found.values():
        for side in campaign:
            paid = [_paid(orders) for orders in side.values()]
            if len(paid) > 1:  # of one user alone nothing is known
                variance += len(campaign.treated) ** 2 * _mean(_squares(paid)) / (len(paid) - 1)
    return variance


def _paid(orders: Iterable[Fact]) -> Fraction:
    return Fraction(sum(one.micros for one in orders))


def _mean(values: list[Fraction]) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


def _squares(values: list[Fraction]) -> list[Fraction]:
    """Of the distances to the mean."""
    return [(one - _mean(values)) ** 2 for one in values]
