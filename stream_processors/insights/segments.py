"""Which behaviour patterns fit a user. Pure arithmetic over features; nothing here reads.

Exact: thresholds are fractions, money whole millionths, so equal features get equal answers. A score is 0.5 at the edge
of a pattern and rises to 1 the further inside it the user is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from schemas.segments import Patterns
from schemas.wire import MICROS

DAY_MS: Final = 86_400_000
_HALF: Final = Fraction(1, 2)
_SHOWN: Final = 60


class Features(NamedTuple):
    """A user before a moment. Times in ms of age before it; all but these two ages are about the window.

    `known_for`: since the sign-up or the first order, whichever came first. `idle_for`: since the last order, else
    since the sign-up. `micros`: spend; `peak_micros`: that of the best period. `named`, `placed`: orders that have a
    category and a place; `top`: those of the commonest category, `category`; `places`: how many places.
    """

    user_id: str
    known_for: int
    idle_for: int
    ever_bought: bool
    orders: int
    micros: int
    peak_micros: int
    weekend: int
    named: int
    top: int
    category: str
    placed: int
    places: int


class Match(NamedTuple):
    """A pattern that fits, how well (0.5 to 1), and why, in words."""

    pattern: str
    score: float
    reason: str


class Assignment(NamedTuple):
    """A user and all patterns that fit, the strongest first."""

    user_id: str
    matches: tuple[Match, ...]

    @property
    def primary(self) -> Match | None:
        """The user's segment; None when no pattern fits."""
        return self.matches[0] if self.matches else None


@dataclass(frozen=True)
class Crowd:
    """What is known of all users together: what every buyer spent in the window, sorted."""

    spends: Sequence[int]

    def above(self, micros: int) -> int:
        """How many buyers spent more."""
        return len(self.spends) - bisect_right(self.spends, micros)


Found = tuple[Fraction, str] | None
"""Score and reason."""


def assign(users: Sequence[Features], declared: Patterns) -> list[Assignment]:
    """The patterns of each user, in the order of `users`."""
    crowd = Crowd(sorted(one.micros for one in users if one.micros > 0))
    return [Assignment(one.user_id, tuple(_matches(one, declared, crowd))) for one in users]


def _matches(user: Features, declared: Patterns, crowd: Crowd) -> list[Match]:
    found = []
    for pattern in declared.precedence:
        if fit := _FITS[pattern](user, declared, crowd):
            found.append(Match(pattern, round(float(fit[0]), 4), fit[1]))
    return found


def _inside(share: Fraction) -> Fraction:
    """The score of a user who is this share (0 to 1) of the way from the edge of a pattern to its heart."""
    return _HALF + _HALF * share


def _beyond(value: Fraction, least: Fraction) -> Fraction:
    """The score of a value that has a least one and no largest."""
    return value / (value + least)


def _high_spender(user: Features, declared: Patterns, crowd: Crowd) -> Found:
    rule, buyers = declared.patterns.HIGH_SPENDER, len(crowd.spends)
    if user.micros <= 0 or buyers < rule.min_buyers:
        return None
    above = crowd.above(user.micros)
    if above >= rule.share * buyers:
        return None
    text = f"spent {user.micros / MICROS:.2f} in {declared.window_days} days; {above} of {buyers} buyers spent more"
    return _inside(1 - above / (rule.share * buyers)), text


def _frequent(user: Features, declared: Patterns, _: Crowd) -> Found:
    rule = declared.patterns.FREQUENT_SHOPPER
    span = max(min(user.known_for, declared.window_days * DAY_MS), 7 * DAY_MS)
    weekly = Fraction(user.orders * 7 * DAY_MS, span)
    if user.orders < rule.min_orders or weekly < rule.per_week:
        return None
    return _beyond(weekly, rule.per_week), f"{user.orders} orders in {_days(span)} days, {float(weekly):.1f} a week"


def _weekend(user: Features, declared: Patterns, _: Crowd) -> Found:
    rule = declared.patterns.WEEKEND_SHOPPER
    return _most(user.weekend, user.orders, rule.share, rule.min_orders, "orders on a weekend")


def _one_category(user: Features, declared: Patterns, _: Crowd) -> Found:
    rule = declared.patterns.CATEGORY_FOCUSED
    return _most(user.top, user.named, rule.share, rule.min_orders, f"orders in {user.category[:_SHOWN]}")


def _most(some: int, of: int, least: Fraction, min_orders: int, what: str) -> Found:
    if of < min_orders or some < least * of:
        return None
    share = Fraction(some, of)
    return _inside((share - least) / (1 - least)), f"{some} of {of} {what} ({float(share):.0%})"


def _few_places(user: Features, declared: Patterns, _: Crowd) -> Found:
    rule = declared.patterns.LOCATION_CLUSTERED
    if user.placed < rule.min_orders or user.places > rule.places:
        return None
    text = f"{user.placed} orders in {user.places} place{'s' if user.places > 1 else ''}"
    return _inside(1 - Fraction(user.places - 1, rule.places)), text


def _new(user: Features, declared: Patterns, _: Crowd) -> Found:
    limit = declared.patterns.NEW_SHOPPER.days * DAY_MS
    if user.known_for >= limit:
        return None
    return _inside(1 - Fraction(user.known_for, limit)), f"came {_days(user.known_for)} days ago"


def _inactive(user: Features, declared: Patterns, _: Crowd) -> Found:
    limit = declared.patterns.INACTIVE.days * DAY_MS
    if user.idle_for <= limit:
        return None
    since = "since the last order" if user.ever_bought else "since the sign-up and no order"
    return _beyond(Fraction(user.idle_for), Fraction(limit)), f"{_days(user.idle_for)} days {since}"


def _seasonal(user: Features, declared: Patterns, _: Crowd) -> Found:
    rule, window = declared.patterns.SEASONAL_SPENDER, declared.window_days
    if user.known_for < window * DAY_MS or user.orders < rule.min_orders or user.micros <= 0:
        return None
    times = Fraction(user.peak_micros * (window // rule.period_days), user.micros)
    if times < rule.times:
        return None
    text = f"spent {float(times):.1f} times the average in the best {rule.period_days} of {window} days"
    return _beyond(times, rule.times), text


def _days(ms: int) -> int:
    return ms // DAY_MS


_FITS: Final[Mapping[str, Callable[[Features, Patterns, Crowd], Found]]] = {
    "HIGH_SPENDER": _high_spender,
    "FREQUENT_SHOPPER": _frequent,
    "WEEKEND_SHOPPER": _weekend,
    "CATEGORY_FOCUSED": _one_category,
    "LOCATION_CLUSTERED": _few_places,
    "NEW_SHOPPER": _new,
    "INACTIVE": _inactive,
    "SEASONAL_SPENDER": _seasonal,
}
