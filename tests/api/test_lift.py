"""The arithmetic of experiments: the specification's example, intervals that hold what they promise, edges."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest

from api.lift import Arm, Estimate, Experiment, holdout_lift, incrementality, net_incremental_revenue

TREATED = Arm(users=349_650, buyers=1_226, paid=17_610_000_000, squares=17_610_000_000**2 // 1_226)
CONTROL = Arm(users=34_580, buyers=58, paid=840_000_000, squares=840_000_000**2 // 58)
EXAMPLE = Experiment(TREATED, CONTROL, spend=14_500_000_000)


def test_the_specifications_example_with_as_many_users_on_both_sides() -> None:
    """58 of 34,580 are 586.5 of 349,650. Its table, which subtracts 58, says 95.5 % and a gain of 3,110."""
    caused = 1226 - Fraction(58 * 349_650, 34_580)
    assert round(float(caused), 1) == 639.5
    share, lift, net = (ask([EXAMPLE]) for ask in (incrementality, holdout_lift, net_incremental_revenue))
    assert share.numerator == lift.numerator == caused
    assert (share.value, lift.value) == (caused / 1226 * 100, caused / 349_650 * 100)
    assert round(float(share.value or 0), 1) == 52.2
    assert round(float(lift.value or 0), 3) == 0.183
    assert net.value == 17_610 - 840 * Fraction(349_650, 34_580) - 14_500
    assert round(float(net.value)) == -5_384


def test_its_interval_is_that_of_the_textbook() -> None:
    """By hand: the standard error of 0.35064 % - 0.16773 % is 0.02417 points: the root of p(1-p)/n, added up."""
    lift = holdout_lift([EXAMPLE])
    assert lift.error == pytest.approx(0.0241693, abs=1e-6)
    low, high = lift.interval()
    assert low == pytest.approx(0.135546, abs=1e-5) and high == pytest.approx(0.230283, abs=1e-5)
    assert lift.p_value == pytest.approx(3.8e-14, rel=0.05)
    assert incrementality([EXAMPLE]).p_value == lift.p_value


@pytest.mark.parametrize("treated", [1_000, 1_100, 1_300, 2_000])
def test_a_p_value_of_a_far_difference_keeps_its_digits(treated: int) -> None:
    """However small, it is one: 0 would say that chance cannot do it. Beside it the complementary error function."""
    lift = holdout_lift([Experiment(Arm(10_000, treated), Arm(10_000, 700))])
    difference = (treated - 700) / 10_000
    error = math.sqrt(sum(share * (1 - share) / 10_000 for share in (treated / 10_000, 0.07)))
    assert lift.p_value == pytest.approx(math.erfc(difference / error / math.sqrt(2)), rel=1e-9, abs=0)


def _draw(rng: random.Random, users: int, share: float) -> Arm:
    paid = [rng.choice((10, 30)) * 1_000_000 if rng.random() < share else 0 for _ in range(users)]
    return Arm(users, sum(map(bool, paid)), sum(paid), sum(one * one for one in paid))


@pytest.mark.parametrize("shares", [((0.2, 0.1), (0.3, 0.25)), ((0.1, 0.1), (0.2, 0.2))])
def test_intervals_hold_the_truth_as_often_as_they_say(shares: tuple[tuple[float, float], ...]) -> None:
    """95 % of them, over many worlds with two campaigns of other sizes; and chance looks certain 5 times in 100."""
    rng, worlds, sizes = random.Random(4), 600, ((900, 300), (400, 400))
    treated_buyers = sum(users * treated for (treated, _), (users, _) in zip(shares, sizes, strict=True))
    caused = sum(users * (treated - control) for (treated, control), (users, _) in zip(shares, sizes, strict=True))
    truth = {
        incrementality: 100 * caused / treated_buyers,
        holdout_lift: 100 * caused / sum(users for users, _ in sizes),
        net_incremental_revenue: 20 * caused - 2_000,
    }
    held, certain = dict.fromkeys(truth, 0), 0
    for _ in range(worlds):
        experiments = [
            Experiment(_draw(rng, users, treated), _draw(rng, others, control), 1_000_000_000)
            for (treated, control), (users, others) in zip(shares, sizes, strict=True)
        ]
        for ask, true in truth.items():
            low, high = ask(experiments).interval()
            assert low is not None and high is not None
            held[ask] += low <= true <= high
        certain += (holdout_lift(experiments).p_value or 1) < 0.05
    for ask, n in held.items():
        assert 0.92 < n / worlds < 0.98, (ask.__name__, n / worlds)
    if caused == 0:
        assert 0.02 < certain / worlds < 0.08
    else:
        assert certain / worlds > 0.9


def test_campaigns_are_added_up_one_by_one() -> None:
    """Poured together, a campaign that holds out more of those who buy anyway would turn the sign (Simpson)."""
    many = Experiment(Arm(900, 90), Arm(100, 5))
    few = Experiment(Arm(100, 60), Arm(900, 450))
    both = holdout_lift([many, few])
    assert both.value == (Fraction(45) + 10) / 1000 * 100 > 0
    poured = Experiment(Arm(1000, 150), Arm(1000, 455))
    assert (holdout_lift([poured]).value or 0) < 0


def test_nothing_is_known_of_nothing() -> None:
    assert incrementality([]) == holdout_lift([]) == Estimate(Fraction(0), Fraction(0), None)
    nothing = net_incremental_revenue([])
    assert (nothing.value, nothing.interval(), nothing.p_value) == (None, (None, None), None)
    nobody_bought = Experiment(Arm(5, 0), Arm(5, 1))
    assert incrementality([nobody_bought]).value is None
    assert holdout_lift([nobody_bought]).value == -20


def test_without_spread_there_is_no_p_value() -> None:
    all_bought = Experiment(Arm(1, 1, 5, 25), Arm(1, 1, 5, 25))
    assert holdout_lift([all_bought]).p_value is None
    assert net_incremental_revenue([all_bought]).error == 0
