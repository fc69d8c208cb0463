"""Verdicts of the series detector on hand-made series."""

from __future__ import annotations

import math

import pytest

from online_models.anomaly import SeriesDetector
from online_models.anomaly_rules import Rules, deviance_root, severity
from online_models.outlier import OutlierModel

FIRST = 20_000 * 288


def _steady(kind: str = "count", value: float = 100.0, days: int = 8, rules: Rules | None = None) -> SeriesDetector:
    """Days of a value that wobbles by a tenth, all closed."""
    detector = SeriesDetector(kind, rules)  # type: ignore[arg-type]
    for i in range(days * 288):
        _put(detector, FIRST + i, value * (1 + 0.1 * math.sin(i * 2.4)))
        detector.close(FIRST + i)
    return detector


def _put(detector: SeriesDetector, bucket: int, value: float) -> None:
    for minute in range(5):
        detector.put(bucket * 5 + minute, value if detector.kind == "gauge" else value / 5)


NEXT = FIRST + 8 * 288


def test_a_spike_is_declared_before_its_bucket_closes() -> None:
    detector = _steady()
    detector.put(NEXT * 5, 90.0)
    assert detector.peek(NEXT) is None
    detector.put(NEXT * 5 + 1, 210.0)
    found = detector.peek(NEXT)
    assert found is not None and (found.type, found.actual) == ("spike", 300.0)
    assert found.percent == pytest.approx(200, abs=15) and found.sigmas > 10


def test_a_half_full_bucket_is_no_drop_until_it_closes() -> None:
    detector = _steady()
    detector.put(NEXT * 5, 20.0)
    assert detector.peek(NEXT) is None
    found = detector.close(NEXT)
    assert found is not None and (found.type, found.severity) == ("drop", "critical")


def test_zero_where_more_is_expected_is_critical() -> None:
    found = _steady().close(NEXT)
    assert found is not None and (found.type, found.severity, found.percent) == ("zero_value", "critical", -100.0)


def test_a_fifth_less_is_no_drop_however_significant() -> None:
    detector = _steady(value=100_000.0)
    _put(detector, NEXT, 78_000.0)
    assert detector.close(NEXT) is None


def test_the_noise_of_a_quiet_series_is_no_anomaly() -> None:
    detector = _steady(value=4.0)
    for i, value in enumerate((0.0, 9.0, 5.0, 1.0, 4.0)):
        _put(detector, NEXT + i, value)
        assert detector.close(NEXT + i) is None


def test_an_outage_of_a_quiet_series_is_found_after_some_buckets() -> None:
    detector = _steady(value=4.0)
    found = [detector.close(NEXT + i) for i in range(12)]
    assert found[0] is None and found[-1] is not None and found[-1].type == "zero_value"


def test_no_verdict_during_warm_up() -> None:
    detector = _steady(days=2)
    _put(detector, FIRST + 2 * 288, 5_000.0)
    assert detector.peek(FIRST + 2 * 288) is None
    assert detector.close(FIRST + 2 * 288) is None


def test_an_outage_yesterday_does_not_lower_what_is_expected_today() -> None:
    detector = _steady()
    for i in range(288):
        _put(detector, NEXT + i, 0.0 if 100 <= i < 150 else 100.0)
        detector.close(NEXT + i)
    expectation = detector.expectation(NEXT + 288 + 120)
    assert expectation is not None and expectation.expected == pytest.approx(100, abs=8)


def test_a_lasting_outage_stays_flagged_for_a_day() -> None:
    detector = _steady()
    assert all(detector.close(NEXT + i) is not None for i in range(288))


def test_gauges_and_amounts_are_judged_without_poisson_noise() -> None:
    gauge, amount = _steady("gauge", 0.05), _steady("amount", 2e6)
    _put(gauge, NEXT, 0.2)
    assert gauge.peek(NEXT) is None, "the mean of an open bucket may still fall"
    for detector, value in ((gauge, 0.2), (amount, 2e7)):
        _put(detector, NEXT, value)
        found = detector.close(NEXT)
        assert found is not None and found.type == "spike"
    _put(amount, NEXT + 1, 9e5)
    found = amount.close(NEXT + 1)
    assert found is not None and found.type == "drop"


def test_an_outage_of_a_very_noisy_amount_is_found_after_some_buckets() -> None:
    detector = SeriesDetector("amount")
    for i in range(8 * 288):
        _put(detector, FIRST + i, 50.0 * (1 + 0.9 * math.sin(i * 2.4)))
        assert detector.close(FIRST + i) is None
    found = [detector.close(NEXT + i) for i in range(48)]
    assert found[0] is None and found[-1] is not None and found[-1].type == "zero_value"


def test_a_missing_gauge_is_unknown_not_zero() -> None:
    detector = _steady("gauge", 0.05)
    assert detector.close(NEXT) is None


def test_a_bucket_is_closed_once() -> None:
    with pytest.raises(ValueError, match="already closed"):
        _steady().close(NEXT - 1)


def test_progress_resumes_where_it_stopped() -> None:
    one, other = _steady(value=4.0), _steady(value=4.0)
    for i in range(3):
        one.close(NEXT + i)
        other.close(NEXT + i)
    resumed = SeriesDetector()
    resumed.series.load_state(other.series.to_state())
    resumed.resume(other.progress())
    assert [one.close(NEXT + i) for i in range(3, 12)] == [resumed.close(NEXT + i) for i in range(3, 12)]


@pytest.mark.parametrize(
    ("kind", "percent", "sigmas", "expected"),
    [
        ("zero_value", -100, -3, "critical"),
        ("drop", -75, -9, "critical"),
        ("drop", -55, -9, "warning"),
        ("drop", -35, -9, "info"),
        ("spike", 250, 12, "critical"),
        ("spike", 250, 6, "warning"),
        ("spike", 20, 40, "info"),
    ],
)
def test_severity_follows_the_size(kind: str, percent: float, sigmas: float, expected: str) -> None:
    assert severity(kind, percent, sigmas) == expected  # type: ignore[arg-type]


def test_the_deviance_root_is_close_to_the_exact_poisson_tail() -> None:
    """Exact one-sided tails: P(X >= 15 | 5) is 3.5 normal sigmas, P(X <= 5 | 20) is 3.8, P(X = 0 | 9) is 3.7."""
    assert deviance_root(15, 5) == pytest.approx(3.55, abs=0.25)
    assert deviance_root(5, 20) == pytest.approx(-3.8, abs=0.3)
    assert deviance_root(0, 9) == pytest.approx(-3.7, abs=0.6)
    assert deviance_root(7, 7) == 0.0
    assert deviance_root(15, 5, 4.0) == pytest.approx(deviance_root(15, 5) / 2)


def test_the_outlier_score_is_higher_for_what_was_never_seen() -> None:
    import random

    rng = random.Random(1)
    model = OutlierModel()
    for _ in range(1_500):
        d = rng.gauss(0, 1)
        model.learn({"deviation": d, "ratio": 0.1 * d, "change": rng.gauss(0, 1)})
    usual = model.predict({"deviation": 0.3, "ratio": 0.03, "change": -0.4})
    strange = model.predict({"deviation": 9.0, "ratio": 3.0, "change": 9.0})
    assert 0.0 <= usual.score < strange.score <= 1.0
    assert (usual.tier, strange.tier) == ("usual", "outlier")
    assert model.score({"deviation": 9.0, "ratio": 3.0, "change": 9.0}) == strange.score
