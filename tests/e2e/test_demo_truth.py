"""The simulated business through both public doors: splits and series of every metric equal plain Python over it.

Whole ranges, and the command itself, are in tests/deploy_simulator/test_demo_e2e.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import pytest

from deploy.simulator.profiles import DAY, Plan
from deploy.simulator.session import Session, Wishes
from deploy.simulator.truth import read_sends
from deploy.stack import Stack
from schemas.clock import SystemClock
from schemas.keys import DEV_SECRET_KEY, DEV_WRITE_KEY
from tests.e2e.doors import OWN, Doors, balance, eventually
from tests.e2e.events import iso
from tests.oracle.metrics import METRICS, Answer, Oracle, Scope

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]

PLAN = Plan(end=0, seed=23, days=30, users=300, rate=1.0, anomaly_after=500, anomaly_for=2_000)


class Played(NamedTuple):
    doors: Doors
    session: Session
    oracle: Oracle
    start: int
    end: int

    def ask(self, metric: str, **more: Any) -> dict[str, Any]:
        """A metric over everything that was simulated."""
        range_ = {"start": iso(self.start / 1000), "end": iso(self.end / 1000), "limit": 1000}
        return self.doors.metric(metric, **(range_ | more))

    def expect(self, metric: str, **more: Any) -> Answer:
        """The same from the truth."""
        return self.oracle.answer(metric, Scope(**({"start": self.start, "end": self.end} | more)))


@pytest.fixture(scope="module")
def played(stack: Stack) -> Iterator[Played]:
    """Thirty days and four live seconds of the tenant `demo`."""
    session = Session(stack.settings, Wishes(PLAN, 4.0), SystemClock())
    session.history(lambda stored: None)
    session.live(stack.collector_url, lambda feed: None, lambda: False)
    assert session.feed.surprises == []
    wrong = [line for line in session.compare(stack.api_url) if not line.right]
    session.close()
    assert wrong == []
    sends = (send for send in read_sends(session.folder) if send["fate"] in ("accepted", "late"))
    oracle = Oracle(send["event"] for send in sends)
    with Doors(stack.collector_url, stack.api_url, DEV_WRITE_KEY, DEV_SECRET_KEY) as doors:
        yield Played(doors, session, oracle, session.plan.start - 250 * DAY, session.plan.end + DAY // 24)


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
            if one["group"] == "" or (metric == "events" and (dimension != "event_type" or one["group"] in OWN)):
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
    assert {kind: n for kind, n in groups.items() if kind not in OWN} == played.session.truth.tally.types
