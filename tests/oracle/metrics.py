"""An independent computation of the metric dictionary: no SQL, no floats, only sets, integers and fractions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from tests.oracle.facts import ACTIVITY_TYPES, OPENS, Fact, facts

EVER = 1 << 62
DAY_MS = 86_400_000
MICROS = 1_000_000


class Answer(NamedTuple):
    """A metric: money and counts as exact numbers; `value` is None where the denominator is 0 or nothing is defined."""

    numerator: Fraction
    denominator: Fraction | None
    value: Fraction | None

    def matches(self, value: float | None) -> bool:
        """Whether a float is this value, to the last digit (one rounding in the last place is allowed)."""
        if value is None or self.value is None:
            return value is None and self.value is None
        exact = float(self.value)
        return value == exact or abs(value - exact) <= abs(exact) * 2.3e-16


class Scope(NamedTuple):
    """What a metric is asked about. Times in milliseconds, `end` exclusive; None: everything."""

    start: int = -EVER
    end: int = EVER
    campaign_id: str | None = None
    creative_id: str | None = None
    segment: str | None = None
    channel: str | None = None
    event_type: str | None = None

    def holds(self, one: Fact) -> bool:
        """Whether a fact is inside every filter, time among them."""
        return self.start <= one.ms < self.end and self.fits(one)

    def fits(self, one: Fact) -> bool:
        """Whether a fact is inside every filter but time."""
        return (
            self.campaign_id in (None, one.campaign_id)
            and self.creative_id in (None, one.creative_id)
            and self.segment in (None, one.segment)
            and self.channel in (None, one.channel)
            and self.event_type in (None, one.event_type)
        )

    @property
    def about_a_campaign(self) -> bool:
        return self.campaign_id is not None or self.creative_id is not None


class Oracle:
    """Answers metrics over the accepted events of one tenant, given once, as sent, in any order, with repeats."""

    def __init__(
        self, events: Iterable[dict[str, Any]], known: int | None = None, stored: Mapping[str, int] | None = None
    ) -> None:
        """`known`: the moment that metrics are asked at, in ms, else the present: cohorts are followed up to there.

        `stored`: when events were, by id, in ms; those that are not in it, at the moment of the question.
        """
        self.facts = facts(events)
        self._known, self.stored = known, stored or {}
        self._by_type: dict[str, list[Fact]] = {}
        for one in self.facts:
            self._by_type.setdefault(one.event_type, []).append(one)
        self._orders = _first_of(self._of("user_purchased"), lambda one: one.order_id or one.event_id)
        self._conversions = _first_of(
            self._of("campaign_converted"), lambda one: (one.campaign_id, one.order_id or one.event_id)
        )

    @property
    def known(self) -> int:
        """The moment that metrics are asked at, in ms."""
        return int(time.time() * 1000) if self._known is None else self._known

    def campaigns(self) -> list[str]:
        """Every campaign that any event names."""
        return sorted({one.campaign_id for one in self.facts if one.campaign_id})

    def answer(self, metric: str, scope: Scope | None = None) -> Answer:
        """The metric of this dictionary id; KeyError when the oracle does not know it."""
        scope = scope or Scope()
        numerator, denominator, factor = METRICS[metric](self, scope)
        if factor is None:
            return Answer(numerator, denominator, None)
        if denominator is None:
            return Answer(numerator, None, numerator * factor)
        value = numerator / denominator * factor if denominator else None
        return Answer(numerator, denominator, value)

    def observe(self, metric: str, scope: Scope) -> list[Fraction]:
        """What a distribution is made of, in the metric's unit, in order."""
        return sorted(DISTRIBUTIONS[metric](self, scope))

    def _of(self, *types: str) -> list[Fact]:
        return [one for kind in types for one in self._by_type.get(kind, ())]

    def _in(self, scope: Scope, *types: str) -> list[Fact]:
        return [one for one in self._of(*types) if scope.holds(one)]

    def orders(self, scope: Scope) -> list[Fact]:
        """The first event of each order, where that lies inside the scope."""
        return [one for one in self._orders if scope.holds(one)]

    def conversions(self, scope: Scope) -> list[Fact]:
        """The first event of each campaign's order, where that lies inside the scope."""
        return [one for one in self._conversions if scope.holds(one)]

    def new_customers(self, scope: Scope) -> set[str]:
        """Users whose first order ever lies inside the scope; with a campaign, those whose first order it converted."""
        first = _first_of(self._orders, lambda one: one.user_id)
        inside = [one for one in first if scope.start <= one.ms < scope.end]
        if not scope.about_a_campaign:
            return {one.user_id for one in inside if scope.fits(one)}
        won = {one.order_id for one in self._conversions if one.order_id and scope.fits(one)}
        return {one.user_id for one in inside if one.order_id in won}

    def budget(self, scope: Scope) -> int:
        """Millionths: newest approved, else newest initial, and what was moved, of every campaign in scope."""
        initial: dict[str, int] = {}
        approved: dict[str, int] = {}
        moved: dict[str, int] = {}
        for one in sorted(self._of("campaign_created", "campaign_launched", "budget_reallocated")):
            if one.ms >= scope.end or not one.stated:
                continue
            if one.event_type == "campaign_created":
                initial[one.campaign_id] = one.micros
            elif one.event_type == "campaign_launched":
                approved[one.campaign_id] = one.micros
            else:
                moved[one.campaign_id] = moved.get(one.campaign_id, 0) + one.micros
                moved[one.from_campaign] = moved.get(one.from_campaign, 0) - one.micros
        total = {**initial, **approved}
        for campaign, micros in moved.items():
            total[campaign] = total.get(campaign, 0) + micros
        if scope.campaign_id is not None:
            return total.get(scope.campaign_id, 0)
        return sum(total.values())

    def spend(self, scope: Scope) -> int:
        return sum(one.micros for one in self._in(scope, "campaign_spend_recorded"))

    def impressions(self, scope: Scope) -> list[Fact]:
        return [one for one in self._in(scope, "campaign_delivered") if not one.holdout]

    def opens(self, scope: Scope) -> list[Fact]:
        return [one for one in self._in(scope, "campaign_viewed") if one.view_type in OPENS]

    def clicks(self, scope: Scope) -> list[Fact]:
        return self._in(scope, "campaign_clicked")

    def messages(self, scope: Scope, event_type: str) -> list[Fact]:
        """E-mail and push only."""
        return [one for one in self._in(scope, event_type) if one.channel in ("email", "push")]

    def message_clickers(self, scope: Scope) -> set[str]:
        """Users who clicked a campaign after, or at least before the end of the range, opening a message of it."""
        before = scope._replace(start=-EVER, creative_id=None, segment=None)
        opened = {(one.user_id, one.campaign_id) for one in self.messages(before, "message_opened")}
        return {one.user_id for one in self.clicks(scope) if (one.user_id, one.campaign_id) in opened}

    def repeaters(self, orders: list[Fact]) -> set[str]:
        """Users with two of these or more."""
        seen: set[str] = set()
        again: set[str] = set()
        for one in orders:
            (again if one.user_id in seen else seen).add(one.user_id)
        return again

    def signups(self, scope: Scope, days: int = 0) -> dict[str, int]:
        """When users first signed up, in ms, where that lies inside the scope and so many days before the question."""
        first = _first_of(self._of("user_signed_up"), lambda one: one.user_id)
        return {one.user_id: one.ms for one in first if scope.holds(one) and one.ms + days * DAY_MS <= self.known}

    def orders_after(self, signups: dict[str, int], first_day: int, end_day: int) -> list[Fact]:
        """Orders of these users so many days after their sign-up."""
        return [
            one
            for one in self._orders
            if one.user_id in signups
            and first_day * DAY_MS <= one.ms - signups[one.user_id] < end_day * DAY_MS
            and one.ms < self.known
        ]

    def active(self, scope: Scope) -> set[str]:
        seen = {one.user_id for one in self._in(scope, *ACTIVITY_TYPES)}
        return seen | {one.user_id for one in self.opens(scope)}

    def count(self, scope: Scope) -> int:
        return sum(1 for one in self.facts if scope.holds(one))


def _first_of(ordered: list[Fact], key: Callable[[Fact], Any]) -> list[Fact]:
    """The earliest fact for each key; the input is in time order."""
    found: dict[Any, Fact] = {}
    for one in ordered:
        found.setdefault(key(one), one)
    return list(found.values())


def _users(some: Iterable[Fact]) -> Fraction:
    return Fraction(len({one.user_id for one in some}))


def _number(some: Iterable[Any]) -> Fraction:
    return Fraction(len(list(some)))


def _money(some: Iterable[Fact]) -> Fraction:
    return Fraction(sum(one.micros for one in some), MICROS)


Quotient = tuple[Fraction, Fraction | None, int | None]
"""Numerator, denominator, and what the quotient is multiplied with; None where nothing is known."""


def _bought(oracle: Oracle, scope: Scope) -> list[Fact]:
    """Orders, or, where a campaign or creative is asked about, its converted orders."""
    return oracle.conversions(scope) if scope.about_a_campaign else oracle.orders(scope)


def _retention(days: int) -> Callable[[Oracle, Scope], Quotient]:
    def retention(oracle: Oracle, scope: Scope) -> Quotient:
        signups = oracle.signups(scope, days)
        return _users(oracle.orders_after(signups, days - 30, days)), _number(signups), 100

    return retention


def _lifetime_value(oracle: Oracle, scope: Scope) -> Quotient:
    signups = oracle.signups(scope)
    return _money(oracle.orders_after(signups, 0, 365)), _number(signups), 1


def _payback(oracle: Oracle, scope: Scope) -> Quotient:
    """Money spent, over what those who first bought in scope paid in a year from then on."""
    firsts = {one.user_id: one.ms for one in _first_of(oracle._orders, lambda one: one.user_id)}
    cohort = {user: firsts[user] for user in oracle.new_customers(scope)}
    return Fraction(oracle.spend(scope), MICROS), _money(oracle.orders_after(cohort, 0, 365)), 12


def _margin(oracle: Oracle, scope: Scope) -> Quotient:
    orders = oracle.orders(scope)
    costs = {one.order_id: one.micros for one in sorted(oracle._of("order_cost_recorded"))}
    left = sum(one.micros - costs.get(one.order_id, 0) for one in orders if one.order_id)
    left += sum(one.micros for one in orders if not one.order_id)
    every = scope._replace(segment=None)
    for spent in oracle._in(every, "campaign_spend_recorded"):
        sent = sorted(one.segment for one in oracle.impressions(every) if one.campaign_id == spent.campaign_id)
        total, upto = len(sent), 0
        for segment in dict.fromkeys(sent):
            before, upto = upto, upto + sent.count(segment)
            if scope.segment in (None, segment):
                left -= spent.micros * upto // total - spent.micros * before // total
        if not sent and scope.segment in (None, ""):
            left -= spent.micros
    return Fraction(left, MICROS), _money(orders), 100


class Arms(NamedTuple):
    """Orders in scope of each treated and each held out user of one campaign, by user."""

    treated: dict[str, list[Fact]]
    control: dict[str, list[Fact]]


def arms(oracle: Oracle, scope: Scope) -> dict[str, Arms]:
    """By campaign, those with somebody on both sides only; a user's side is that of the first delivery in scope."""
    first: dict[tuple[str, str], Fact] = {}
    for one in oracle._in(scope, "campaign_delivered"):
        first.setdefault((one.campaign_id, one.user_id), one)
    found: dict[str, Arms] = {}
    for (campaign, user), delivered in first.items():
        after = [o for o in oracle._orders if o.user_id == user and delivered.ms <= o.ms < scope.end]
        sides = found.setdefault(campaign, Arms({}, {}))
        (sides.control if delivered.holdout else sides.treated)[user] = after
    return {campaign: sides for campaign, sides in found.items() if sides.treated and sides.control}


def _lift(per_user: bool) -> Callable[[Oracle, Scope], Quotient]:
    def lift(oracle: Oracle, scope: Scope) -> Quotient:
        caused = below = Fraction(0)
        for treated, control in arms(oracle, scope).values():
            bought = sum(1 for orders in treated.values() if orders)
            baseline = Fraction(sum(1 for orders in control.values() if orders), len(control))
            caused += bought - baseline * len(treated)
            below += len(treated) if per_user else bought
        return caused, below, 100

    return lift


def quantile(ordered: list[Fraction], share: Fraction) -> Fraction | None:
    """Between two observations on the straight line; None of nothing."""
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _hours_to_conversion(oracle: Oracle, scope: Scope) -> list[Fraction]:
    """From the first delivery of a campaign to its first conversion of the same user, where that lies in scope."""
    first = _first_of(sorted(oracle._conversions), lambda one: (one.campaign_id, one.user_id))
    found = []
    for one in first:
        sent = [
            d.ms
            for d in oracle._of("campaign_delivered")
            if not d.holdout and (d.campaign_id, d.user_id) == (one.campaign_id, one.user_id)
        ]
        if scope.holds(one) and sent and min(sent) <= one.ms:
            found.append(Fraction(one.ms - min(sent), 3_600_000))
    return found


def _seconds_to_storage(oracle: Oracle, scope: Scope) -> list[Fraction]:
    inside = [one for one in oracle.facts if scope.holds(one)]
    return [Fraction(oracle.stored.get(one.event_id, oracle.known) - one.ms, 1000) for one in inside]


def _deliveries_per_user(oracle: Oracle, scope: Scope) -> list[Fraction]:
    return [Fraction(n) for n in Counter(one.user_id for one in oracle.impressions(scope)).values()]


DISTRIBUTIONS: dict[str, Callable[[Oracle, Scope], list[Fraction]]] = {
    "time_to_conversion": _hours_to_conversion,
    "data_freshness": _seconds_to_storage,
    "message_frequency": _deliveries_per_user,
}


def _net_incremental_revenue(oracle: Oracle, scope: Scope) -> Quotient:
    net = Fraction(0)
    for campaign, (treated, control) in arms(oracle, scope).items():
        paid, unpaid = (
            sum(order.micros for orders in side.values() for order in orders) for side in (treated, control)
        )
        net += paid - Fraction(unpaid, len(control)) * len(treated)
        net -= oracle.spend(Scope(scope.start, scope.end, campaign_id=campaign))
    return net / MICROS, None, 1 if arms(oracle, scope) else None


METRICS: dict[str, Callable[[Oracle, Scope], Quotient]] = {
    "roas": lambda o, s: (_money(o.conversions(s)), Fraction(o.spend(s), MICROS), 1),
    "ctr": lambda o, s: (_number(o.clicks(s)), _number(o.impressions(s)), 100),
    "conversion_rate": lambda o, s: (_users(o.conversions(s)), _users(o.clicks(s)), 100),
    "cac": lambda o, s: (Fraction(o.spend(s), MICROS), _number(o.new_customers(s)), 1),
    "cpc": lambda o, s: (Fraction(o.spend(s), MICROS), _number(o.clicks(s)), 1),
    "impressions": lambda o, s: (_number(o.impressions(s)), None, 1),
    "budget_utilization": lambda o, s: (
        Fraction(o.spend(s._replace(start=-EVER)), MICROS), Fraction(o.budget(s), MICROS), 100,
    ),
    "aov": lambda o, s: (_money(_bought(o, s)), _number(_bought(o, s)), 1),
    "engagement_rate": lambda o, s: (_users(o.opens(s)), _users(o.impressions(s)), 100),
    "open_rate": lambda o, s: (_users(o.messages(s, "message_opened")), _users(o.messages(s, "message_sent")), 100),
    "click_rate": lambda o, s: (_number(o.message_clickers(s)), _users(o.messages(s, "message_opened")), 100),
    "average_frequency": lambda o, s: (_number(o.impressions(s)), _users(o.impressions(s)), 1),
    "ltv": _lifetime_value,
    "cac_payback": _payback,
    "gross_margin": _margin,
    "repeat_purchase_rate": lambda o, s: (_number(o.repeaters(_bought(o, s))), _users(_bought(o, s)), 100),
    "incrementality": _lift(per_user=False),
    "holdout_lift": _lift(per_user=True),
    "net_incremental_revenue": _net_incremental_revenue,
    "retention_30d": _retention(30),
    "retention_60d": _retention(60),
    "retention_90d": _retention(90),
    "revenue": lambda o, s: (_money(_bought(o, s)), None, 1),
    "purchases": lambda o, s: (_number(_bought(o, s)), None, 1),
    "active_users": lambda o, s: (_number(o.active(s)), None, 1),
    "events": lambda o, s: (Fraction(o.count(s)), None, 1),
}  # fmt: skip
