"""Duplicates, late and malformed events, the outage and the anomaly are where the ground truth says they are."""

from __future__ import annotations

from collections import Counter

from deploy.simulator.faults import KINDS, Mangler
from deploy.simulator.simulation import Simulation
from schemas.taxonomy import Rejection, shipped_packs, validator
from tests.deploy_simulator.conftest import END, LIVE, Played, small_plan
from tests.oracle.facts import milliseconds


def test_duplicates_repeat_an_event_that_was_sent_before_byte_for_byte(played: Played) -> None:
    first: dict[str, object] = {}
    at_once = later = 0
    for send in played.history + played.live:
        if send.fate == "duplicate":
            assert first[send.payload["event_id"]] == send.payload
            at_once += 1
        elif send.fate in ("accepted", "late"):
            assert send.payload["event_id"] not in first
            first[send.payload["event_id"]] = send.payload
        later += 1
    assert 0.003 < at_once / later < 0.008


def test_some_duplicates_come_in_the_same_breath_and_some_much_later() -> None:
    sent: dict[str, int] = {}
    gaps = []
    for send in Simulation(small_plan()).history():
        if send.fate == "duplicate":
            gaps.append(send.ms - sent[send.payload["event_id"]])
        elif isinstance(send.payload, dict):
            sent[send.payload["event_id"]] = send.ms
    assert min(gaps) == 0
    assert max(gaps) > 60_000


def test_every_kind_of_malformed_event_gets_the_reason_it_names() -> None:
    check = validator(shipped_packs()["marketing"])
    good = {}
    for _, event in Simulation(small_plan()).business.run(END):
        good.setdefault(event["event_type"], event)
    for kind in KINDS:
        verdict = check.validate(kind.spoil(good[kind.event_type]), received_at=END / 1000, backfill=not kind.live_only)
        assert isinstance(verdict, Rejection)
        assert verdict.reason == kind.reason
    assert len({kind.reason for kind in KINDS}) >= 12


def test_malformed_events_cost_no_good_one(played: Played) -> None:
    fates = Counter(send.fate for send in played.history)
    assert 0.001 < fates["malformed"] / len(played.history) < 0.006
    spoiled = [send.payload for send in played.history if send.fate == "malformed"]
    assert all(not isinstance(event, dict) or event["event_id"] not in _ids(played) for event in spoiled)


def _ids(played: Played) -> set[str]:
    return {send.payload["event_id"] for send in played.history + played.live if send.fate == "accepted"}


def test_late_events_are_live_only_and_over_a_day_old(played: Played) -> None:
    assert not any(send.fate == "late" for send in played.history)
    late = [send for send in played.live if send.fate == "late"]
    assert late
    assert all(86_400_000 < send.ms - milliseconds(send.payload["timestamp"]) < 29 * 86_400_000 for send in late)


def test_during_the_outage_nothing_mobile_is_sent_and_the_backend_goes_on(played: Played) -> None:
    begin, end = END - 900_000, END - 300_000
    inside = [
        send.payload["source"]
        for send in played.history
        if send.fate == "accepted" and begin <= milliseconds(send.payload["timestamp"]) < end
    ]
    assert "mobile" not in inside
    assert "backend" in inside
    assert played.simulation.suppressed > 300


def test_the_anomaly_is_a_burst_of_clicks_at_its_time(played: Played) -> None:
    clicks = [
        milliseconds(send.payload["timestamp"]) - END
        for send in played.live
        if send.fate == "accepted" and send.payload["event_type"] == "campaign_clicked"
    ]
    inside = [at for at in clicks if 119_000 <= at <= 182_000]
    outside = [at for at in clicks if not 119_000 <= at <= 182_000]
    assert len(inside) > 5 * max(1, len(outside)) * 60 / (LIVE / 1000 - 60)
    assert len(inside) > 30


def test_the_mangler_holds_back_nothing_for_ever() -> None:
    mangler = Mangler(small_plan())
    event = {"event_id": "e", "event_type": "user_engaged", "source": "mobile", "properties": {}}
    for number in range(2_000):
        mangler.feed(END - 2_000_000, {**event, "event_id": str(number)})
    assert len({send.payload["event_id"] for send in mangler.due(END) if send.fate == "accepted"}) == 2_000
