"""What a campaign caused: its treated users compared with those held out. Pure arithmetic; nothing here reads.

Each campaign is an experiment of its own. Over several, what each caused is added up, so that campaigns with many and
with few held out do not mix (stratification). Values are exact fractions; intervals and p-values are of the normal
approximation (variance of the difference of two means, delta method for a share), for one look at the end of a range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist
from typing import Final, NamedTuple

from schemas.wire import MICROS

CONFIDENCE: Final = 0.95
_NORMAL: Final = NormalDist()
_WIDTH: Final = _NORMAL.inv_cdf((1 + CONFIDENCE) / 2)


class Arm(NamedTuple):
    """One side of an experiment: users, those of them who bought, what they paid (millionths), and its squares."""

    users: int = 0
    buyers: int = 0
    paid: int = 0
    squares: int = 0

    def share(self) -> Fraction:
        """Buyers a user."""
        return Fraction(self.buyers, self.users)

    def share_variance(self) -> Fraction:
        """Of the share."""
        return self.share() * (1 - self.share()) / self.users

    def mean_variance(self) -> Fraction:
        """Of what a user paid on average, in millionths squared; 0 with one user, of whom nothing more is known."""
        if self.users < 2:
            return Fraction(0)
        spread = Fraction(self.squares) - Fraction(self.paid * self.paid, self.users)
        return spread / (self.users - 1) / self.users


class Experiment(NamedTuple):
    """One campaign. `spend`: what was recorded of it in the range, millionths."""

    treated: Arm
    control: Arm
    spend: int = 0

    @property
    def valid(self) -> bool:
        """Whether there is somebody on both sides: without, nothing can be said."""
        return self.treated.users > 0 and self.control.users > 0


@dataclass(frozen=True)
class Estimate:
    """A quotient with what is known of its error: `value` is None where nothing was divided by nothing.

    `error`: the standard error of the value. `z`: how many standard errors the difference is from none.
    """

    numerator: Fraction
    denominator: Fraction | None
    value: Fraction | None
    error: float = 0.0
    z: float | None = None

    @property
    def p_value(self) -> float | None:
        """How often as much or more would be seen, either way, if there were no difference; None without an error."""
        return None if self.value is None or self.z is None else math.erfc(abs(self.z) / math.sqrt(2))

    def interval(self) -> tuple[float | None, float | None]:
        """The ends of the 95 % confidence interval."""
        if self.value is None:
            return None, None
        return float(self.value) - _WIDTH * self.error, float(self.value) + _WIDTH * self.error


def _conversions(experiments: Sequence[Experiment]) -> tuple[Fraction, Fraction, Fraction]:
    """Conversions caused, their variance, and the covariance with the conversions there were."""
    caused, variance, shared = Fraction(0), Fraction(0), Fraction(0)
    for treated, control, _ in experiments:
        own = treated.users**2 * treated.share_variance()
        caused += treated.buyers - control.share() * treated.users
        variance += own + treated.users**2 * control.share_variance()
        shared += own
    return caused, variance, shared


def incrementality(experiments: Sequence[Experiment]) -> Estimate:
    """Of a hundred treated users who bought, how many would not have."""
    caused, variance, shared = _conversions(experiments)
    bought = Fraction(sum(one.treated.buyers for one in experiments))
    if not bought:
        return Estimate(caused, bought, None)
    share = caused / bought
    error = math.sqrt(max(Fraction(0), variance - 2 * share * shared + share * share * shared)) / float(bought)
    return Estimate(caused, bought, share * 100, error * 100, _z(caused, variance))


def holdout_lift(experiments: Sequence[Experiment]) -> Estimate:
    """By how many percentage points more of the treated users bought."""
    caused, variance, _ = _conversions(experiments)
    users = Fraction(sum(one.treated.users for one in experiments))
    if not users:
        return Estimate(caused, users, None)
    return Estimate(caused, users, caused / users * 100, math.sqrt(variance) / float(users) * 100, _z(caused, variance))


def net_incremental_revenue(experiments: Sequence[Experiment]) -> Estimate:
    """What treated users paid beyond what as many held out ones would have, less what was spent; in currency."""
    net, variance = Fraction(0), Fraction(0)
    for treated, control, spend in experiments:
        net += treated.paid - Fraction(control.paid * treated.users, control.users) - spend
        variance += treated.users**2 * (treated.mean_variance() + control.mean_variance())
    z, net = _z(net, variance), net / MICROS
    return Estimate(net, None, net if experiments else None, math.sqrt(variance) / MICROS, z)


def _z(difference: Fraction, variance: Fraction) -> float | None:
    return float(difference) / math.sqrt(variance) if variance else None


ESTIMATES: Final[Mapping[str, Callable[[Sequence[Experiment]], Estimate]]] = {
    "incrementality": incrementality,
    "holdout_lift": holdout_lift,
    "net_incremental_revenue": net_incremental_revenue,
}
