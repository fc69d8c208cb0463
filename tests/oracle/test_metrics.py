"""The oracle against cases small enough to work out by hand."""

from __future__ import annotations

from fractions import Fraction
from itertools import count
from random import Random
from typing import Any

import pytest

from tests.oracle.facts import fact, micros, milliseconds
from tests.oracle.metrics import METRICS, Oracle, Scope, quantile

_ids = count()


def event(kind: str, second: int, user: str = "u1", segment: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{next(_ids)}", "event_type": kind, "timestamp": 1_000_000 + second, "user_id": user,
        "source": "backend", "properties": properties, "context": {"user_segment": segment},
    }  # fmt: skip


def at(second: int) -> int:
    return (1_000_000 + second) * 1000


def small_world() -> list[dict[str, Any]]:
    """Two campaigns, three users, one holdout, an order reported twice, a spend outside the first minute."""
    return [
        event("campaign_created", 0, "m", campaign_id="A", initial_budget=90.0),
        event("campaign_launched", 1, "m", campaign_id="A", budget_approved=100.0),
        event("campaign_created", 2, "m", campaign_id="B", initial_budget=50.0),
        event("budget_reallocated", 3, "m", from_campaign_id="B", to_campaign_id="A", amount=20.0),
        event("campaign_delivered", 10, "u1", "VIP", campaign_id="A", creative_id="A1", delivery_channel="push"),
        event("campaign_delivered", 11, "u2", campaign_id="A", delivery_channel="email", is_holdout=False),
        event("campaign_delivered", 12, "u3", campaign_id="A", delivery_channel="push", is_holdout=True),
        event("message_sent", 10, "u1", campaign_id="A", delivery_channel="push"),
        event("message_sent", 11, "u2", campaign_id="A", delivery_channel="sms"),
        event("message_opened", 15, "u1", campaign_id="A", delivery_channel="push"),
        event("campaign_viewed", 15, "u1", campaign_id="A", view_type="opened"),
        event("campaign_viewed", 15, "u2", campaign_id="A", view_type="received"),
        event("campaign_clicked", 16, "u1", campaign_id="A", creative_id="A1"),
        event("campaign_clicked", 17, "u1", campaign_id="A", creative_id="A1"),
        event("campaign_clicked", 18, "u2", campaign_id="A"),
        event("user_purchased", 20, "u1", order_id="o1", order_value=19.99),
        event("user_purchased", 21, "u1", order_id="o1", order_value=19.99),
        event("user_purchased", 22, "u3", order_id="o2", order_value=0.02),
        event("campaign_converted", 20, "u1", campaign_id="A", creative_id="A1", order_id="o1", order_value=19.99),
        event("campaign_converted", 90, "u1", campaign_id="A", creative_id="A1", order_id="o1", order_value=19.99),
        event("campaign_spend_recorded", 30, "ads", campaign_id="A", amount=4.5),
        event("campaign_spend_recorded", 100, "ads", campaign_id="B", amount=1.5),
    ]


@pytest.mark.parametrize(
    ("metric", "numerator", "denominator", "value"),
    [
        ("roas", Fraction(1999, 100), Fraction(6), Fraction(1999, 600)),
        ("ctr", 3, 2, 150),
        ("conversion_rate", 1, 2, 50),
        ("cac", 6, 2, 3),
        ("cpc", 6, 3, 2),
        ("impressions", 2, None, 2),
        ("budget_utilization", 6, 150, 4),
        ("aov", Fraction(2001, 100), 2, Fraction(2001, 200)),
        ("engagement_rate", 1, 2, 50),
        ("open_rate", 1, 1, 100),
        ("click_rate", 1, 1, 100),
        ("average_frequency", 2, 2, 1),
        # The customers are u1 and u3.
        ("cac_payback", 6, Fraction(2001, 100), Fraction(7200, 2001)),
        ("gross_margin", Fraction(1401, 100), Fraction(2001, 100), Fraction(140100, 2001)),
        # u1 of u1 and u2 bought after it, for 19.99; so did u3, who was held out, for 0.02; 4.50 were spent.
        ("incrementality", -1, 1, -100),
        ("holdout_lift", -1, 2, -50),
        ("net_incremental_revenue", Fraction(1545, 100), None, Fraction(1545, 100)),
        ("repeat_purchase_rate", 0, 2, 0),
        ("revenue", Fraction(2001, 100), None, Fraction(2001, 100)),
        ("purchases", 2, None, 2),
        ("active_users", 3, None, 3),
        ("events", 22, None, 22),
    ],
)
def test_every_metric_of_a_small_world(metric: str, numerator: Any, denominator: Any, value: Any) -> None:
    assert Oracle(small_world()).answer(metric) == (numerator, denominator, value)


@pytest.mark.parametrize(
    ("metric", "numerator", "denominator", "value"),
    [
        # u1 buys for 10 and 5 in the first year, u2 for 7, u3 nothing; the order of day 400 is too late.
        ("ltv", 22, 3, Fraction(22, 3)),
        # u1 on day 10, u2 on day 30 exactly, which is the second month; u3 is 59 days old.
        ("retention_30d", 1, 3, Fraction(100, 3)),
        ("retention_60d", 2, 2, 100),
        ("retention_90d", 0, 2, 0),
        ("repeat_purchase_rate", 1, 2, 50),
    ],
)
def test_every_metric_of_people_who_signed_up(metric: str, numerator: Any, denominator: Any, value: Any) -> None:
    day = 86_400
    events = [
        event("user_signed_up", 0, "u1"),
        event("user_signed_up", 2 * day, "u1"),
        event("user_signed_up", 0, "u2"),
        event("user_signed_up", 361 * day, "u3"),
        event("user_purchased", 10 * day, "u1", order_id="o1", order_value=10.0),
        event("user_purchased", 40 * day, "u1", order_id="o2", order_value=5.0),
        event("user_purchased", 41 * day, "u1", order_id="o2", order_value=5.0),
        event("user_purchased", 30 * day, "u2", order_id="o3", order_value=7.0),
        event("user_purchased", 400 * day, "u2", order_id="o4", order_value=9.0),
        event("user_purchased", 430 * day, "u1", order_id="o5", order_value=9.0),
    ]
    scope = Scope(end=at(399 * day)) if metric == "repeat_purchase_rate" else Scope()
    assert Oracle(events, known=at(420 * day)).answer(metric, scope) == (numerator, denominator, value)


def test_time_to_conversion_by_hand() -> None:
    """u1: from second 10 to 20; a campaign that came after the conversion, or to the holdout, has no time."""
    oracle = Oracle(
        [
            *small_world(),
            event("campaign_converted", 40, "u2", campaign_id="A", order_id="o8", order_value=1.0),
            event("campaign_converted", 41, "u2", campaign_id="A", order_id="o9", order_value=1.0),
            event("campaign_converted", 40, "u3", campaign_id="A", order_id="o7", order_value=1.0),
            event("campaign_converted", 5, "u4", campaign_id="B", order_id="o6", order_value=1.0),
            event("campaign_delivered", 6, "u4", campaign_id="B", delivery_channel="push"),
        ]
    )
    waited = oracle.observe("time_to_conversion", Scope())
    assert waited == [Fraction(10, 3600), Fraction(29, 3600)]
    assert quantile(waited, Fraction(1, 2)) == Fraction(39, 7200)
    assert quantile(waited, Fraction(19, 20)) == Fraction(10, 3600) + Fraction(19, 20) * Fraction(19, 3600)
    assert quantile([], Fraction(1, 2)) is None
    assert oracle.observe("time_to_conversion", Scope(end=at(30))) == waited[:1]


def test_margin_by_segment_by_hand() -> None:
    """The newest cost holds; a third of A's deliveries had no segment, B's spend nobody at all."""
    oracle = Oracle(
        [
            event("user_purchased", 5, "u1", "VIP", order_id="o1", order_value=10.0),
            event("user_purchased", 6, "u2", order_id="o2", order_value=5.0),
            event("order_cost_recorded", 9, "u1", order_id="o1", cogs=3.0),
            event("order_cost_recorded", 8, "u1", order_id="o1", cogs=4.0),
            *(event("campaign_delivered", n, f"u{n}", name, campaign_id="A") for n, name in ((1, "VIP"), (2, ""))),
            event("campaign_delivered", 3, "u3", "VIP", campaign_id="A"),
            event("campaign_spend_recorded", 4, "ads", campaign_id="A", amount=1.0),
            event("campaign_spend_recorded", 4, "ads", campaign_id="B", amount=0.5),
        ]
    )
    assert oracle.answer("gross_margin", Scope(segment="VIP")).numerator == Fraction(6333333, 1000000)
    assert oracle.answer("gross_margin", Scope(segment="")).numerator == Fraction(4166667, 1000000)
    assert oracle.answer("gross_margin") == (Fraction(21, 2), 15, 70)


def test_deliveries_of_each_user_by_hand() -> None:
    sent = [event("campaign_delivered", n, user, campaign_id="A") for n, user in enumerate(("a", "a", "b", "a"))]
    held = event("campaign_delivered", 9, "c", campaign_id="A", is_holdout=True)
    assert Oracle([*sent, held]).observe("message_frequency", Scope()) == [1, 3]


def test_every_known_metric_has_a_hand_computed_case() -> None:
    assert len(METRICS) == 26


def test_a_campaign_is_asked_about_its_own_orders() -> None:
    oracle = Oracle(small_world())
    a, b = Scope(campaign_id="A"), Scope(campaign_id="B")
    assert oracle.answer("aov", a).value == Fraction(1999, 100)
    assert oracle.answer("purchases", a).value == 1
    assert oracle.answer("cac", a) == (Fraction(9, 2), 1, Fraction(9, 2))
    assert oracle.answer("budget_utilization", a) == (Fraction(9, 2), 120, Fraction(15, 4))
    assert oracle.answer("budget_utilization", b) == (Fraction(3, 2), 30, 5)
    assert oracle.answer("roas", b) == (0, Fraction(3, 2), 0)


def test_nothing_divided_by_nothing_is_no_value_and_no_error() -> None:
    empty = Oracle([])
    for metric in METRICS:
        answer = empty.answer(metric)
        unknown = answer.denominator is not None or metric == "net_incremental_revenue"
        assert answer.value == (None if unknown else 0)


def test_a_range_includes_its_start_and_excludes_its_end() -> None:
    oracle = Oracle(small_world())
    assert oracle.answer("impressions", Scope(at(10), at(11))).value == 1
    assert oracle.answer("impressions", Scope(at(10), at(12))).value == 2


def test_an_order_counts_in_the_range_of_its_first_event_only() -> None:
    oracle = Oracle(small_world())
    assert oracle.answer("revenue", Scope(at(21), at(22))).value == 0
    assert oracle.answer("roas", Scope(at(60), at(120))).numerator == 0


def test_new_means_first_order_ever_not_first_in_range() -> None:
    oracle = Oracle([*small_world(), event("user_purchased", 200, "u1", order_id="o3", order_value=1.0)])
    assert oracle.answer("cac", Scope(at(100), at(300))).denominator == 0


def test_the_same_event_twice_in_any_order_changes_nothing() -> None:
    events = small_world()
    shuffled = events + events[:9]
    Random(5).shuffle(shuffled)
    for metric in METRICS:
        assert Oracle(shuffled).answer(metric) == Oracle(events).answer(metric)


def test_filters_by_creative_and_segment() -> None:
    oracle = Oracle(small_world())
    assert oracle.answer("impressions", Scope(segment="VIP")).value == 1
    assert oracle.answer("ctr", Scope(creative_id="A1")) == (2, 1, 200)


def test_times_and_money_are_exact() -> None:
    assert milliseconds("2026-01-02T03:04:05.678Z") == 1767323045678
    assert milliseconds("2026-01-02T04:04:05.678+01:00") == 1767323045678
    assert milliseconds(1767323045.678) == 1767323045678
    assert micros(19.99) == 19_990_000
    assert micros(0.1) + micros(0.2) == 300_000
    assert micros(None) == 0


def test_absent_properties_are_empty() -> None:
    one = fact({"event_id": "e", "event_type": "user_engaged", "timestamp": 5, "user_id": "u"})
    assert (one.campaign_id, one.order_id, one.micros, one.holdout) == ("", "", 0, False)


def test_a_float_matches_only_its_own_value() -> None:
    answer = Oracle(small_world()).answer("roas")
    assert answer.matches(19.99 / 6.0)
    assert not answer.matches(3.3317)
    assert not answer.matches(None)


def test_a_budget_event_without_an_amount_sets_nothing() -> None:
    oracle = Oracle([*small_world(), event("campaign_launched", 40, "m", campaign_id="A")])
    assert oracle.answer("budget_utilization", Scope(campaign_id="A")).denominator == 120


def test_events_can_be_counted_by_type() -> None:
    assert Oracle(small_world()).answer("events", Scope(event_type="campaign_clicked")).value == 3
