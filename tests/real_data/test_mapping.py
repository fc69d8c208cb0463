"""The mapped data sets carry every row, once, and their totals to the cent."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest

from tests.oracle.facts import milliseconds
from tests.oracle.metrics import Oracle
from tests.real_data.expected import cdnow_purchases, sparkify_listening
from tests.real_data.mapping import Event, cdnow, sparkify, squeeze

NOW = 1_794_000_000.0


def test_cdnow_carries_every_purchase_and_every_cent() -> None:
    expected, oracle = cdnow_purchases(), Oracle(cdnow())
    assert (expected.orders, expected.customers) == (6919, 2357)
    assert oracle.answer("purchases").value == expected.orders
    assert oracle.answer("active_users").value == expected.customers
    assert oracle.answer("revenue").value == expected.revenue
    average = oracle.answer("aov").value
    assert average is not None
    assert Decimal(average.numerator) / average.denominator - expected.average < Decimal("0.005")


def test_sparkify_carries_every_line_and_every_visitor() -> None:
    expected, events = sparkify_listening(), sparkify()
    oracle = Oracle(events)
    engaged = [event for event in events if event["event_type"] == "user_engaged"]
    assert expected.events == len(engaged) == 8056
    assert len(events) - len(engaged) == expected.listeners
    assert oracle.answer("active_users").value == expected.users
    screens = [event["properties"]["screen_name"] for event in engaged]
    assert {page: screens.count(page) for page in set(screens)} == expected.pages


@pytest.mark.parametrize("mapped", [cdnow, sparkify])
def test_shifted_to_now_nothing_is_older_than_the_limit_and_nothing_changes_order(mapped: object) -> None:
    assert callable(mapped)
    plain: list[Event] = mapped()
    shifted: list[Event] = mapped(now=NOW)
    times = {event["event_id"]: milliseconds(event["timestamp"]) for event in shifted}
    assert max(times.values()) == NOW * 1000
    assert min(times.values()) >= (NOW - 29 * 86400) * 1000
    ordered = sorted(plain, key=lambda event: milliseconds(event["timestamp"]))
    assert all(times[a["event_id"]] <= times[b["event_id"]] for a, b in pairwise(ordered))


def test_ids_are_the_same_every_time_and_differ_between_copies() -> None:
    ids = {event["event_id"] for event in cdnow()}
    assert len(ids) == 6919
    assert {event["event_id"] for event in cdnow()} == ids
    assert ids.isdisjoint(event["event_id"] for event in cdnow("again"))


def test_squeezing_leaves_a_short_span_as_long_as_it_is() -> None:
    assert squeeze([1000, 5000], 100.0) == [96_000, 100_000]
