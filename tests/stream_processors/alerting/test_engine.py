"""The alert engine: raise, hold, clear, acknowledge, restore."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec
import pytest

from schemas.alerting.incident import AlertRow, Kind
from schemas.alerting.readings import Reading
from schemas.alerting.rules import Rule, Rules, load_rules
from stream_processors.alerting.engine import AlertEngine, Transition

T0 = 1_763_712_000.0


def rule(**changes: object) -> Rule:
    """A rule on validation: below 95, clears at 96 for 20 s, sample of 10."""
    fields: dict[str, object] = {
        "title": "{value:.1f} % of {name}",
        "description": "d",
        "severity": "critical",
        "signal": "validation_pass_rate_percent",
        "window": "5m",
        "comparison": "below",
        "threshold": 95.0,
        "min_count": 10,
        "clear": {"threshold": 96.0, "after": "20s"},
        "min_open": "0s",
        "runbook": "r",
    }
    return Rule.model_validate(fields | changes)


def engine(**changes: object) -> AlertEngine:
    return AlertEngine(Rules({"validation": rule(**changes)}), "https://h/")


def reading(value: float | None, at: float, count: int = 100, **changes: Any) -> Reading:
    fields: dict[str, Any] = {"tenant": "t", "signal": "validation_pass_rate_percent", "subject": "", "window": 300.0}
    return Reading(**(fields | changes), value=value, count=count, at=at)


def run(subject: AlertEngine, values: list[float | None], start: float = T0) -> list[tuple[float, Kind]]:
    """Feed a value a second; (seconds since start, kind) of the transitions, without the updates."""
    return [(second, kind) for second, kind in run_all(subject, values, start) if kind is not Kind.UPDATED]


def run_all(subject: AlertEngine, values: list[float | None], start: float = T0) -> list[tuple[float, Kind]]:
    found = []
    for second, value in enumerate(values):
        now = start + second
        found += [(second, t.kind) for t in subject.observe([reading(value, now)], now)]
    return found


def action(kind: str, alert_id: str, at: float, **properties: object) -> Mapping[str, Any]:
    return {
        "tenant": "t",
        "event_type": f"alert_{kind}",
        "user_id": "ann",
        "timestamp": at,
        "properties": {"alert_id": alert_id, **properties},
    }


def stored(transitions: list[Transition]) -> list[dict[str, Any]]:
    """The newest row of each alert, as the warehouse gives it back."""
    newest: dict[str, AlertRow] = {}
    for transition in transitions:
        row = transition.row
        if row.alert_id not in newest or newest[row.alert_id].version < row.version:
            newest[row.alert_id] = row
    return [msgspec.structs.asdict(row) for row in newest.values()]


def test_raises_within_one_observation_and_resolves_by_itself() -> None:
    assert run(engine(), [99, 90, 90] + [97] * 30) == [(1, Kind.RAISED), (23, Kind.RESOLVED)]


def test_a_breach_must_last_as_long_as_the_rule_says() -> None:
    assert run(engine(raise_after="5s"), [90] * 5 + [99] + [90] * 5) == []
    assert run(engine(raise_after="5s"), [90] * 7) == [(5, Kind.RAISED)]


def test_values_between_threshold_and_clear_threshold_neither_raise_nor_resolve() -> None:
    assert run(engine(), [95.5] * 50) == []
    assert run(engine(), [90] + [95.5] * 50) == [(0, Kind.RAISED)]


def test_the_good_time_starts_over_with_every_relapse() -> None:
    assert run(engine(), [90] + ([97] * 15 + [94]) * 3 + [97] * 21) == [(0, Kind.RAISED), (69, Kind.RESOLVED)]


def test_an_incident_stays_open_for_its_minimum_time() -> None:
    subject = engine(clear={"after": "0s"}, min_open="10s")
    assert run(subject, [90] + [99] * 15) == [(0, Kind.RAISED), (10, Kind.RESOLVED)]


def test_noise_around_the_threshold_does_not_flap() -> None:
    """An hour of a rate around its threshold: a naive comparison changes its mind over a thousand times."""
    random = Random(7)
    values = [95 + random.gauss(0, 1.5) for _ in range(3600)]
    naive = sum((a < 95) != (b < 95) for a, b in itertools.pairwise(values))
    found = run(engine(), list(values))
    assert naive > 1000
    assert [kind for _, kind in found] == [Kind.RAISED]


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_a_reading_that_says_nothing_changes_nothing(value: float | None) -> None:
    assert run(engine(), [value] * 50) == []
    assert run(engine(), [90] + [value] * 50) == [(0, Kind.RAISED)]


def test_a_small_sample_says_nothing() -> None:
    subject = engine()
    assert subject.observe([reading(0.0, T0, count=9)], T0) == []
    assert len(subject.observe([reading(0.0, T0 + 1, count=10)], T0 + 1)) == 1


def test_a_pending_breach_is_forgotten_over_a_long_silence() -> None:
    assert run(engine(raise_after="5s"), [90] * 3 + [None] * 30 + [90] * 3) == []


def test_an_incident_without_news_ends_as_stale() -> None:
    subject = engine(stale_after="1h")
    [raised] = subject.observe([reading(90, T0)], T0)
    assert subject.observe([], T0 + 3599) == []
    [ended] = subject.observe([], T0 + 3600)
    assert (ended.kind, ended.row.resolved_by) == (Kind.RESOLVED, "stale")
    assert ended.row.alert_id == raised.row.alert_id


def test_event_like_signals_clear_when_nothing_more_comes() -> None:
    subject = engine(missing="clear", clear={"after": "30m"})
    assert len(subject.observe([reading(90, T0)], T0)) == 1
    assert subject.observe([], T0 + 1) == []
    assert subject.observe([], T0 + 1800) == []
    [ended] = subject.observe([], T0 + 1801)
    assert (ended.kind, ended.row.resolved_by) == (Kind.RESOLVED, "system")


def test_subjects_and_tenants_are_separate_incidents() -> None:
    subject = AlertEngine(Rules({"r": rule(dimension="campaign")}))
    readings = [
        reading(90, T0, tenant=tenant, subject=f"campaign:{name}") for tenant in ("a", "b") for name in ("x", "y")
    ]
    found = subject.observe([*readings, *readings], T0)
    assert [t.kind for t in found] == [Kind.RAISED] * 4
    assert len({t.row.alert_id for t in found}) == 4


@pytest.mark.parametrize(
    "changes", [{"window": 3600.0}, {"signal": "duplicate_rate_percent"}, {"subject": "campaign:c"}]
)
def test_readings_that_no_rule_judges_are_ignored(changes: dict[str, Any]) -> None:
    assert engine().observe([reading(0.0, T0, **changes)], T0) == []


def test_the_same_readings_give_the_same_rows() -> None:
    runs = []
    for _ in range(2):
        subject = engine()
        runs.append([t.row for n in range(90) for t in subject.observe([reading(90 - n / 100, T0 + n)], T0 + n)])
    assert runs[0] == runs[1]
    assert len(runs[0]) == 2


def test_a_new_incident_has_a_new_id() -> None:
    subject = engine()
    values: list[float | None] = [90] + [99] * 25
    ids = []
    for second, value in enumerate(values * 2):
        for t in subject.observe([reading(value, T0 + second)], T0 + second):
            ids.append(t.row.alert_id)
    assert len(ids) == 4
    assert len(set(ids)) == 2


def test_evidence_explains_the_incident() -> None:
    subject = AlertEngine(Rules({"r": rule(dimension="campaign", link="{base}/c/{name}")}), "https://h/")
    known = {"expected": 99.0, "contributors": [{"reason": "too_old", "n": n} for n in range(50)], "minute": 7}
    given = reading(90.04, T0, subject="campaign:a b/c", evidence=known)
    [raised] = subject.observe([given], T0)
    evidence = json.loads(raised.row.evidence)
    assert raised.row.title == "90.0 % of a b/c"
    assert raised.row.link == "https://h/c/a%20b%2Fc"
    assert evidence["value"] == 90.04
    assert (evidence["threshold"], evidence["comparison"], evidence["window_seconds"]) == (95.0, "below", 300.0)
    assert (evidence["sample_count"], evidence["expected"], evidence["unit"]) == (100, 99.0, "percent")
    assert len(evidence["contributors"]) == 10
    assert evidence["details"] == {"minute": 7}
    assert evidence["runbook"] == "r"


def test_evidence_is_bounded_and_always_json() -> None:
    subject = engine()
    bulky = {"blob": "x" * 100_000, "nan": math.nan, "object": object()}
    [raised] = subject.observe([reading(90, T0, evidence=bulky)], T0)
    assert len(raised.row.evidence) < 20_000
    assert json.loads(raised.row.evidence)["value"] == 90


def test_the_stored_value_follows_once_a_minute() -> None:
    found = run_all(engine(), [90 - n / 1000 for n in range(200)])
    assert found == [(0, Kind.RAISED), (60, Kind.UPDATED), (120, Kind.UPDATED), (180, Kind.UPDATED)]


def test_versions_grow_even_when_the_clock_goes_back() -> None:
    subject = engine(clear={"after": "0s"})
    [raised] = subject.observe([reading(90, T0)], T0)
    [taken] = subject.fold_action(action("acknowledged", raised.row.alert_id, T0 - 500))
    assert taken.row.version > raised.row.version


def test_an_acknowledged_incident_is_silent_and_still_resolves_by_itself() -> None:
    subject = engine()
    [raised] = subject.observe([reading(90, T0)], T0)
    [taken] = subject.fold_action(action("acknowledged", raised.row.alert_id, T0 + 1, acknowledged_by="bob"))
    assert (taken.row.state, taken.row.acknowledged_by, taken.row.acknowledged_at) == ("acknowledged", "bob", T0 + 1)
    assert not taken.notify
    assert [kind for _, kind in run(subject, [90] * 50, T0 + 2)] == []
    assert [kind for _, kind in run(subject, [99] * 22, T0 + 52)] == [Kind.RESOLVED]


def test_actions_are_idempotent_and_checked() -> None:
    subject = engine()
    [raised] = subject.observe([reading(90, T0)], T0)
    take = action("acknowledged", raised.row.alert_id, T0 + 1)
    assert subject.fold_action({**take, "tenant": "other"}) == []
    assert subject.fold_action({**take, "event_type": "user_purchased"}) == []
    assert subject.fold_action(action("acknowledged", "unknown", T0)) == []
    assert subject.fold_action({"event_type": "alert_resolved", "properties": None}) == []
    assert len(subject.fold_action(take)) == 1
    assert subject.fold_action(take) == []
    end = action("resolved", raised.row.alert_id, T0 + 2)
    [ended] = subject.fold_action(end)
    assert (ended.kind, ended.row.resolved_by) == (Kind.RESOLVED, "ann")
    assert subject.fold_action(end) == []


def test_what_a_person_resolved_comes_back_only_later_when_the_cause_is_still_there() -> None:
    subject = engine(reraise_after="1h")
    [raised] = subject.observe([reading(90, T0)], T0)
    subject.fold_action(action("resolved", raised.row.alert_id, T0 + 1))
    assert run(subject, [90] * 60, T0 + 2) == []
    [again] = subject.observe([reading(90, T0 + 3601)], T0 + 3601)
    assert again.kind is Kind.RAISED
    assert again.row.alert_id != raised.row.alert_id


def test_what_a_person_resolved_comes_back_at_once_after_it_was_good() -> None:
    subject = engine(reraise_after="1h")
    [raised] = subject.observe([reading(90, T0)], T0)
    subject.fold_action(action("resolved", raised.row.alert_id, T0 + 1))
    assert [kind for _, kind in run(subject, [99] * 25 + [90], T0 + 2)] == [Kind.RAISED]


def test_a_restart_neither_raises_again_nor_forgets() -> None:
    before = engine()
    rows = stored(before.observe([reading(90, T0)], T0))
    after = engine()
    assert after.restore(rows, T0 + 5) == []
    assert run(after, [90] * 30, T0 + 5) == []
    assert [row.alert_id for row in after.open_incidents()] == [rows[0]["alert_id"]]
    assert [kind for _, kind in run(after, [99] * 22, T0 + 40)] == [Kind.RESOLVED]


def test_a_restart_keeps_acknowledgement_and_action_targets() -> None:
    before = engine()
    raised = before.observe([reading(90, T0)], T0)
    taken = before.fold_action(action("acknowledged", raised[0].row.alert_id, T0 + 1))
    after = engine()
    after.restore(stored(raised + taken), T0 + 5)
    assert after.open_incidents()[0].state == "acknowledged"
    assert len(after.fold_action(action("resolved", raised[0].row.alert_id, T0 + 6))) == 1


def test_a_restart_keeps_a_persons_decision() -> None:
    before = engine(reraise_after="1h")
    raised = before.observe([reading(90, T0)], T0)
    ended = before.fold_action(action("resolved", raised[0].row.alert_id, T0 + 1))
    after = engine(reraise_after="1h")
    after.restore(stored(raised + ended), T0 + 5)
    assert run(after, [90] * 60, T0 + 5) == []
    assert len(after.observe([reading(90, T0 + 3700)], T0 + 3700)) == 1


def test_a_replayed_reading_does_not_open_a_closed_incident_again() -> None:
    """After a restart the watcher reads its input again: an anomaly that was raised and resolved is old news."""
    options: dict[str, object] = {"missing": "clear", "clear": {"after": "1s"}}
    before = engine(**options)
    found = before.observe([reading(90, T0)], T0)
    found += before.observe([], T0 + 1)
    found += before.observe([], T0 + 2)
    assert found[-1].kind is Kind.RESOLVED
    assert before.observe([reading(90, T0)], T0 + 3) == []
    after = engine(**options)
    after.restore(stored(found), T0 + 5)
    assert after.observe([reading(90, T0)], T0 + 5) == []
    assert len(after.observe([reading(90, T0 + 6)], T0 + 6)) == 1


def test_incidents_of_a_rule_that_is_gone_are_closed() -> None:
    rows = stored(engine().observe([reading(90, T0)], T0))
    [ended] = AlertEngine(Rules({})).restore(rows, T0 + 5)
    assert (ended.kind, ended.row.resolved_by) == (Kind.RESOLVED, "rule_removed")


def test_healthy_subjects_take_no_memory() -> None:
    subject = AlertEngine(Rules({"r": rule(dimension="campaign")}))
    for second, value in enumerate([99.0, 90.0] + [99.0] * 25):
        now = T0 + second
        subject.observe([reading(value, now, subject=f"campaign:{n}") for n in range(50)], now)
    assert subject.open_incidents() == []
    assert not subject._watches
    assert not subject._keys


def test_shipped_rules_raise_on_what_they_are_for() -> None:
    bad = {
        "validation_rate_low": 80.0,
        "freshness_stale": 16.0,
        "zero_traffic": 0.0,
        "anomaly": 1.0,
        "budget_overrun": 111.0,
    }
    rules = load_rules()
    subject = AlertEngine(rules)
    readings = [
        Reading(
            "t", one.signal, "" if one.dimension == "tenant" else f"{one.dimension}:x", one.window, bad[name], 5000, T0
        )
        for name, one in rules.items()
        if name in bad
    ]
    assert {t.row.rule_id for t in subject.observe(readings, T0)} == set(bad)


def test_an_incident_that_gets_worse_is_raised_again_under_the_same_id() -> None:
    subject = AlertEngine(Rules({"r": rule(severity="info")}))
    severities = ["warning", "warning", "critical", "warning"]
    found = []
    for second, severity in enumerate(severities):
        now = T0 + second
        found += subject.observe([msgspec.structs.replace(reading(90.0, now), severity=severity)], now)
    assert [(t.kind.value, t.row.severity) for t in found] == [("raised", "warning"), ("raised", "critical")]
    assert len({t.row.alert_id for t in found}) == 1
    assert subject.open_incidents()[0].severity == "critical"
