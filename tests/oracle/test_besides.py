"""What stands beside a number, by hand: how sure an experiment is, flags of points, and measures of predictions."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from fractions import Fraction

import pytest

from tests.oracle.evaluations import People, area, measures
from tests.oracle.experiments import HALF_WIDTH, certainty
from tests.oracle.flags import far, points, standing
from tests.oracle.metrics import Oracle, Scope
from tests.oracle.test_metrics import event

DAY = 86_400


def test_how_sure_an_experiment_is_by_hand() -> None:
    """Two of four bought for 10 and 20, one of the two held out for 6, and 8 were spent.

    The shares are equal, with variances of 1/16 and 1/8. Payments have variances of 275/3 and 18 (n - 1), so four users
    paid 10 more than expected with a variance of 16 x (275/12 + 9) = 1532/3.
    """
    sent = [event("campaign_delivered", n, f"t{n}", campaign_id="A", delivery_channel="push") for n in range(4)]
    held = [event("campaign_delivered", n, f"c{n}", campaign_id="A", is_holdout=True) for n in range(2)]
    paid = {"t0": 10.0, "t2": 20.0, "c1": 6.0}
    bought = [event("user_purchased", 9, who, order_id=who, order_value=worth) for who, worth in paid.items()]
    oracle = Oracle([*sent, *held, *bought, event("campaign_spend_recorded", 5, "ads", campaign_id="A", amount=8.0)])
    assert pytest.approx(1.959963984540054) == HALF_WIDTH
    for metric, value, error, p_value in (
        ("holdout_lift", 0, 100 * math.sqrt(3 / 16), 1.0),
        ("incrementality", 0, 50 * math.sqrt(3), 1.0),
        ("net_incremental_revenue", 10, math.sqrt(1532 / 3), 0.6581),
    ):
        found = certainty(oracle, metric, Scope())
        assert found[:2] == (4, 2)
        assert found.low == pytest.approx(value - 1.959963984540054 * error), metric
        assert found.high == pytest.approx(value + 1.959963984540054 * error), metric
        assert found.p_value == pytest.approx(p_value, abs=1e-4), metric
    assert certainty(Oracle(sent), "holdout_lift", Scope()) == (0, 0, None, None, None)


def test_points_follow_the_calendar() -> None:
    def ms(*moment: int) -> int:
        return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1000  # type: ignore[misc,arg-type]

    months = points("month", ms(2026, 11, 30, 12), ms(2027, 2, 1))
    assert [point.text[:10] for point in months] == ["2026-11-01", "2026-12-01", "2027-01-01"]
    assert (months[0].start, months[0].end, months[-1].ends) == (ms(2026, 11, 30, 12), ms(2026, 12, 1), ms(2027, 2, 1))
    assert [point.text for point in points("week", ms(2026, 11, 22), ms(2026, 11, 24))] == [
        "2026-11-16T00:00:00.000Z", "2026-11-23T00:00:00.000Z",
    ]  # fmt: skip
    assert [point.begins for point in points("5m", ms(2026, 1, 1, 0, 4), ms(2026, 1, 1, 0, 10))] == [
        ms(2026, 1, 1), ms(2026, 1, 1, 0, 5)
    ]  # fmt: skip


def test_far_from_the_others() -> None:
    """Six of distance 1 around 10: 1.48 is the deviation, 4.45 is far. Of equal ones the mean distance counts."""
    calm = [Fraction(n) for n in (9, 11, 9, 11, 9, 11, 10)]
    assert far([*calm, Fraction(14), None]) == [False] * 9 and far([*calm, Fraction(15)])[-1]
    assert far([*[Fraction(0)] * 9, Fraction(1)])[-1] and not any(far([*calm[:5], Fraction(99)]))
    assert [standing(Fraction(n), 1.0, 2.0) for n in range(4)] == ["low", "healthy", "healthy", "high"]
    assert standing(Fraction(1), None, None) is standing(None, 1.0, None) is None


def test_predictions_by_hand() -> None:
    """Of four pairs three are in order; with a tie three and a half."""
    pairs = [(0.1, False), (0.4, False), (0.35, True), (0.8, True)]
    assert area(pairs) == Fraction(3, 4) and area([*pairs[:2], (0.4, True), pairs[3]]) == Fraction(7, 8)
    assert area(pairs[:2]) is None
    found = measures(pairs)
    assert found["brier"][0] == pytest.approx((0.01 + 0.16 + 0.65**2 + 0.04) / 4) and found["brier"][1] == 4
    assert found["calibration_bin_3_observed"] == (1.0, 1)
    assert found["calibration_error"][0] == pytest.approx((0.1 + 0.4 + 0.65 + 0.2) / 4)


def test_who_is_lost_by_hand() -> None:
    """Midnight is day 30: a came back, b did not, c came back and left for good, d was not there before."""
    days = {"a": (1, 59), "b": (29, 60), "c": (3, 31), "d": (40,)}
    seen = [event("user_engaged", day * DAY, user) for user, some in days.items() for day in some]
    left = event("user_unsubscribed", 32 * DAY, "c", unsubscribe_type="all_campaigns")
    some = event("user_unsubscribed", 32 * DAY, "a", unsubscribe_type="push_only")
    assert People([*seen, left, some]).lost((1_000_000 + 30 * DAY) * 1000) == {"a": False, "b": True, "c": True}
