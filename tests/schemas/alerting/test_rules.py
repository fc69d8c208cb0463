"""Alert rules as data: the shipped ones, and faults that refuse to boot with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.alerting.readings import SIGNALS, Reading, split_subject, subject_of
from schemas.alerting.rules import SEVERITIES, Rule, Rules, load_rules
from schemas.errors import ConfigError
from schemas.metrics.loader import shipped_dictionary

RULE = """\
rules:
  validation_rate_low:
    title: "{value:.1f} %"
    description: d
    severity: critical
    signal: validation_pass_rate_percent
    window: 5m
    comparison: below
    threshold: 95
    clear: {threshold: 96, after: 2m}
    runbook: r
"""


def load(tmp_path: Path, text: str) -> Rules:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    return load_rules(path, {"roas", "ctr"})


def test_the_shipped_rules_hold_the_limits_of_the_specification() -> None:
    rules = load_rules(metrics={metric.id for metric in shipped_dictionary().metrics})
    limits = {name: (rule.severity, rule.signal, rule.comparison, rule.threshold) for name, rule in rules.items()}
    expected = {
        "ingestion_rate_low": ("critical", "ingestion_rate_percent", "below", 95),
        "validation_rate_low": ("critical", "validation_pass_rate_percent", "below", 95),
        "freshness_stale": ("warning", "data_freshness_minutes", "above", 15),
        "completeness_low": ("warning", "completeness_percent", "below", 90),
        "late_rate_high": ("info", "late_arrival_rate_percent", "above", 5),
        "duplicate_rate_high": ("info", "duplicate_rate_percent", "above", 1),
        "roas_low": ("warning", "metric.roas", "below", 2),
        "ctr_low": ("warning", "metric.ctr", "below", 0.5),
        "budget_overrun": ("critical", "metric.budget_utilization", "above", 110),
    }
    assert {name: limits[name] for name in expected} == expected
    assert rules["anomaly"].dimension == "series"
    assert rules["roas_low"].dimension == "campaign"
    assert "low_daily_volume" not in rules


def test_every_signal_that_exists_is_watched_or_declared_only_for_users() -> None:
    watched = {signal for signal, _, _ in load_rules().needed()}
    assert set(SIGNALS) - watched == {"schema_compliance_percent"}


def test_durations_become_seconds_and_defaults_are_filled(tmp_path: Path) -> None:
    rule = load(tmp_path, RULE)["validation_rate_low"]
    assert (rule.window, rule.clear.after, rule.raise_after, rule.min_count, rule.missing) == (300, 120, 0, 1, "hold")


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("severity: critical", "severity: crytical", 5, "did you mean 'critical'"),
        ("    signal:", "    signl:", 6, "did you mean 'signal'"),
        (
            "validation_pass_rate_percent",
            "validation_pas_rate_percent",
            6,
            "did you mean 'validation_pass_rate_percent'",
        ),
        ("validation_pass_rate_percent", "metric.roaz", 6, "did you mean 'roas'"),
        ("window: 5m", "window: five", 7, "must be a duration"),
        ("window: 5m", "window: 300", 7, "must be a duration"),
        ("comparison: below", "comparison: under", 8, "comparison"),
        ("threshold: 95", "threshold: .nan", 9, "threshold"),
        ("threshold: 95", "threshold: '95'", 9, "threshold"),
        ("threshold: 96", "threshold: 94", 10, "good side"),
        ("{value:.1f} %", "{valeu}", 3, "did you mean 'value'"),
        ("{value:.1f} %", "{value.real}", 3, "nothing that can stand here"),
        ("{value:.1f} %", "{value", 3, "no template"),
        ("{value:.1f} %", "{value:%q}", 3, "no template"),
        ("    runbook: r\n", "    runbook: r\n    link: '{bse}'\n", 12, "did you mean 'base'"),
        ("    runbook: r\n", "", 2, "runbook"),
        ("    runbook: r\n", "    runbook: r\n    runbook: r\n", 12, "given twice"),
        ("  validation_rate_low:", "  Validation-Rate:", 2, "lower_snake_case"),
        ("rules:", "ruels:", 1, "did you mean 'rules'"),
    ],
)
def test_a_fault_names_file_line_and_key(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    assert old in RULE
    with pytest.raises(ConfigError, match=rf"rules\.yaml:{line}: ") as caught:
        load(tmp_path, RULE.replace(old, new, 1))
    assert says in str(caught.value)


def test_a_disabled_rule_is_checked_and_left_out(tmp_path: Path) -> None:
    assert len(load(tmp_path, RULE + "    enabled: false\n")) == 0
    with pytest.raises(ConfigError):
        load(tmp_path, RULE.replace("window: 5m", "window: x") + "    enabled: false\n")


@pytest.mark.parametrize(
    ("comparison", "breaching", "fine"),
    [("below", 94.9, 95.0), ("at_most", 95.0, 95.1), ("above", 95.1, 95.0), ("at_least", 95.0, 94.9)],
)
def test_comparisons(comparison: str, breaching: float, fine: float) -> None:
    rule = Rule.model_validate(
        {
            **{"title": "t", "description": "d", "severity": "info", "signal": "events_received", "window": "1m"},
            **{"comparison": comparison, "threshold": 95.0, "runbook": "r"},
        }
    )
    assert rule.breached(breaching)
    assert not rule.breached(fine)
    assert rule.cleared(fine)
    assert not rule.cleared(breaching)


def test_rules_find_the_readings_they_judge(tmp_path: Path) -> None:
    rules = load(tmp_path, RULE)
    reading = Reading("t", "validation_pass_rate_percent", "", 300.0, 1.0, 1, 0.0)
    assert [name for name, _ in rules.judging(reading)] == ["validation_rate_low"]
    assert rules.judging(Reading("t", "validation_pass_rate_percent", "campaign:c", 300.0, 1.0, 1, 0.0)) == []
    assert rules.needed() == {("validation_pass_rate_percent", 300.0, "tenant")}


def test_subjects_round_trip() -> None:
    assert split_subject(subject_of("campaign", "a:b")) == ("campaign", "a:b")
    assert split_subject(subject_of("tenant")) == ("tenant", "")
    with pytest.raises(ValueError, match="no dimension"):
        subject_of("planet", "x")


def test_severities_go_from_mild_to_bad() -> None:
    assert SEVERITIES == ("info", "warning", "critical")
