"""Real data sets through the doors, each twice: counts, people and money to the cent, from the API.

Purchases of the nineties through `headrace backfill` are in tests/deploy_backfill/test_backfill_e2e.py; here they and
the listening logs come through the collector, moved to the last 29 days, and the logs through backfill as they are.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from deploy.stack import Stack
from tests.e2e.doors import OWN, Doors
from tests.e2e.up import headrace
from tests.oracle.metrics import Oracle
from tests.real_data.expected import cdnow_purchases, sparkify_listening
from tests.real_data.mapping import CDNOW, SPARKIFY, Event, cdnow, sparkify, write_ndjson

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("stack"),
    pytest.mark.skipif(
        not (CDNOW.exists() and SPARKIFY.exists()), reason="the data sets beside this folder are missing"
    ),
]

IN_2018 = {"start": "2018-01-01", "end": "2019-01-01"}


def send_twice(doors: Doors, events: list[Event]) -> None:
    """The second time nothing may change but the count of duplicates."""
    doors.send_all(events)
    first = doors.settled()
    assert (first["stored"], first["duplicates"], first["rejected"]) == (len(events), 0, {})
    before = [doors.value(metric) for metric in ("revenue", "purchases", "active_users", "aov")]
    doors.send_all(events[::-1], size=333)
    second = doors.settled()
    assert (second["stored"], second["duplicates"]) == (len(events), len(events))
    assert second["late"] == first["late"] > 0
    assert [doors.value(metric) for metric in ("revenue", "purchases", "active_users", "aov")] == before


def test_purchases_through_the_collector_are_right_to_the_cent(doors: Doors) -> None:
    expected, events = cdnow_purchases(), cdnow(f"cdnow-{doors.tenant}", now=time.time() - 60)
    assert (expected.orders, expected.customers) == (6_919, 2_357)
    send_twice(doors, events)
    assert doors.value("purchases") == expected.orders
    assert doors.value("active_users") == expected.customers
    assert doors.value("revenue") == float(expected.revenue)
    average = doors.metric("aov")
    assert (average["numerator"], average["denominator"]) == (float(expected.revenue), expected.orders)
    assert f"{average['value']:.2f}" == str(expected.average)
    assert Oracle(events).answer("aov").matches(average["value"])


def test_listening_through_the_collector_counts_every_line_and_listener(doors: Doors) -> None:
    expected, events = sparkify_listening(), sparkify(f"sparkify-{doors.tenant}", now=time.time() - 60)
    assert expected.events == 8_056
    send_twice(doors, events)
    _check_listening(doors, events)


def test_listening_logs_backfilled_twice_count_the_same(stack: Stack, doors: Doors, tmp_path: Path) -> None:
    events = sparkify()
    path = write_ndjson(events, tmp_path / "sparkify.ndjson")
    for run in (1, 2):
        words = ("--key", doors.write_key, "--data-dir", str(stack.settings.data_dir), "--restart")
        done = headrace("backfill", str(path), *words)
        assert done.returncode == 0, done.stderr
        doors.accepted += json.loads(done.stdout)["accepted"]
        found = doors.settled()
        assert (found["stored"], found["duplicates"]) == (len(events), (run - 1) * len(events))
        assert found["late"] == 0, "what is backfilled is old on purpose"
        _check_listening(doors, events, **IN_2018)


def _check_listening(doors: Doors, events: list[Event], **range_: str) -> None:
    expected = sparkify_listening()
    assert doors.value("active_users", **range_) == expected.users
    assert doors.value("aov", **range_) is None
    types = {one["group"]: one["value"] for one in doors.metric("events", group_by="event_type", **range_)["groups"]}
    assert {kind: n for kind, n in types.items() if kind not in OWN} == {
        "user_engaged": expected.events,
        "user_signed_up": expected.listeners,
    }
    engaged = {"event_type": "user_engaged", **range_}
    levels = Counter(event["context"]["user_segment"] for event in events if event["event_type"] == "user_engaged")
    groups = doors.metric("events", group_by="segment", **engaged)["groups"]
    assert {one["group"]: one["value"] for one in groups} == levels
    days = doors.metric("events", interval="day", **engaged)["series"]
    assert sum(point["value"] for point in days) == expected.events
