"""The simulated business through both public doors: splits and series of every metric equal plain Python over it.

Whole ranges, and the command itself, are in tests/deploy_simulator/test_demo_e2e.py; KPIs, cohorts, funnels and all
other questions in test_demo_answers.py.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from deploy.simulator.profiles import DAY
from tests.e2e.doors import OWN, balance, eventually
from tests.e2e.events import iso
from tests.e2e.played import PLAN, Played
from tests.oracle.metrics import METRICS, Answer

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]

ASSIGNED = frozenset({"user_segmented", "user_unsegmented", "segment_defined"})
"""Types of events that nobody simulates: the daily round of patterns, and what a test defines."""


def same(answer: dict[str, Any], expected: Answer) -> bool:
    """Numerator, denominator and value, to the last digit."""
    below = None if expected.denominator is None else float(expected.denominator)
    return bool(
        answer["numerator"] == float(expected.numerator)
        and answer["denominator"] == below
        and expected.matches(answer["value"])
    )


def test_nothing_is_on_its_way_and_nothing_is_missing(played: Played) -> None:
    found = eventually(played.doors.pipeline, lambda got: balance(got) == (0, 0))
    assert found["difference"] == {"received": 0, "accepted": 0}
    assert found["rejected"].keys() >= played.session.truth.tally.reasons.keys()
    assert found["late"] == played.session.truth.tally.fates["late"]


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_every_split_of_the_metric_equals_the_truth(played: Played, metric: str) -> None:
    (entry,) = [one for one in played.doors.get("/metrics")["metrics"] if one["id"] == metric]
    compared = 0
    for dimension in entry["dimensions"]:
        groups = played.ask(metric, group_by=dimension)["groups"]
        assert len({one["group"] for one in groups}) == len(groups)
        for one in groups:
            if one["group"] == "" or (
                metric == "events" and (dimension != "event_type" or one["group"] in OWN | ASSIGNED)
            ):
                continue  # the pipeline's own events are in there
            expected = played.expect(metric, **{dimension: one["group"]})
            assert same(one, expected), f"{metric} by {dimension} {one['group']}: {one}, wanted {expected}"
            compared += 1
    assert compared >= 3


@pytest.mark.parametrize("metric", sorted(METRICS.keys() - {"click_rate", "events"}))
def test_every_day_of_the_metric_equals_the_truth(played: Played, metric: str) -> None:
    """But the click rate, whose days look at the messages of the whole range, as its definition says."""
    points = played.ask(metric, interval="day", start=iso(played.session.plan.start / 1000))["series"]
    assert len(points) >= PLAN.days
    for number, point in enumerate(points):
        begin = round(datetime.fromisoformat(point["start"]).timestamp() * 1000)
        expected = played.expect(metric, start=begin, end=min(begin + DAY, played.end))
        assert same(point, expected), f"{metric} on day {number}: {point}, wanted {expected}"


def test_every_event_type_is_stored_as_often_as_it_was_sent(played: Played) -> None:
    groups = {one["group"]: one["value"] for one in played.ask("events", group_by="event_type")["groups"]}
    assert {kind: n for kind, n in groups.items() if kind not in OWN | ASSIGNED} == played.session.truth.tally.types
