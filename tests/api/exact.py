"""An answer of the API held against the oracle: to the last digit, where a number is one of whole numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from schemas.metrics import Kind, Metric
from tests.oracle.experiments import certainty
from tests.oracle.metrics import Oracle, Scope, quantile


def check(answer: dict[str, Any], oracle: Oracle, metric: Metric, scope: Scope) -> None:
    if metric.kind is Kind.DISTRIBUTION:
        check_distribution(answer, oracle.observe(metric.id, scope), metric)
        return
    expected = oracle.answer(metric.id, scope)
    assert answer["numerator"] == float(expected.numerator)
    assert answer["denominator"] == (None if expected.denominator is None else float(expected.denominator))
    assert answer["value"] == (None if expected.value is None else float(expected.value))
    if metric.kind is Kind.EXPERIMENT:
        check_certainty(answer, oracle, metric, scope)


def check_certainty(answer: dict[str, Any], oracle: Oracle, metric: Metric, scope: Scope) -> None:
    """Users are counted; the rest has a root in it, so the last digits are not those of a fraction."""
    for name, expected in certainty(oracle, metric.id, scope)._asdict().items():
        near = expected if expected is None or isinstance(expected, int) else pytest.approx(expected, rel=1e-9)
        assert answer[name] == near, name


def check_distribution(answer: dict[str, Any], observed: list[Fraction], metric: Metric) -> None:
    """The place between two observations is a float, so the last digits are not those of a fraction."""
    assert (answer["numerator"], answer["denominator"]) == (len(observed), None)
    shares = {"value": metric.quantile, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
    for name, share in shares.items():
        expected = quantile(observed, Fraction(str(share)))
        near = None if expected is None else pytest.approx(float(expected), rel=1e-12, abs=1e-12)
        assert answer[name] == near, name
    bars, below = [], Fraction(-1 << 62)
    for end in map(Fraction, map(str, metric.buckets)):
        bars.append({"up_to": float(end), "count": sum(below < one <= end for one in observed)})
        below = end
    assert answer["histogram"] == [*bars, {"up_to": None, "count": sum(one > below for one in observed)}]


def value_of(oracle: Oracle, metric: Metric, scope: Scope) -> Fraction | None:
    """The exact value of a metric of any kind that the oracle knows."""
    if metric.kind is Kind.DISTRIBUTION:
        return quantile(oracle.observe(metric.id, scope), Fraction(str(metric.quantile)))
    return oracle.answer(metric.id, scope).value


def sides(oracle: Oracle, metric: Metric, scope: Scope) -> tuple[Any, Any]:
    """Numerator and denominator, 0 where there is none."""
    if metric.kind is Kind.DISTRIBUTION:
        return len(oracle.observe(metric.id, scope)), 0
    expected = oracle.answer(metric.id, scope)
    return expected.numerator, expected.denominator or 0


def check_comparison(
    then: dict[str, Any], now: Fraction | None, oracle: Oracle, metric: Metric, scope: Scope
) -> Fraction | None:
    """Everything of a comparison but its range. `now`: the value it stands beside. Gives the value before."""
    before = value_of(oracle, metric, scope)
    fields = {"value", "numerator", "denominator", "change", "change_percent"}
    if metric.kind is Kind.DISTRIBUTION:
        assert (then["numerator"], then["denominator"]) == (len(oracle.observe(metric.id, scope)), None)
        assert then["value"] == (None if before is None else pytest.approx(float(before), rel=1e-12))
    else:
        check(then, oracle, metric, scope)
    if metric.kind is Kind.EXPERIMENT:
        fields |= {"treated_users", "control_users", "low", "high", "p_value"}
    assert set(then) - {"start", "end"} == fields
    if now is None or before is None:
        assert then["change"] is then["change_percent"] is None
        return before
    change, least = now - before, 1e-12 * float(max(abs(now), abs(before)))
    assert then["change"] == pytest.approx(float(change), rel=1e-12, abs=least)
    if not before:
        assert then["change_percent"] is None
        return before
    percent, least = 100 * change / abs(before), 100 * least / float(abs(before))
    assert then["change_percent"] == pytest.approx(float(percent), rel=1e-12, abs=least)
    return before
