"""An answer of the API held against the oracle: to the last digit, where a number is one of whole numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from schemas.metrics import Kind, Metric
from tests.oracle.metrics import Oracle, Scope, quantile


def check(answer: dict[str, Any], oracle: Oracle, metric: Metric, scope: Scope) -> None:
    if metric.kind is Kind.DISTRIBUTION:
        check_distribution(answer, oracle.observe(metric.id, scope), metric)
        return
    expected = oracle.answer(metric.id, scope)
    assert answer["numerator"] == float(expected.numerator)
    assert answer["denominator"] == (None if expected.denominator is None else float(expected.denominator))
    assert answer["value"] == (None if expected.value is None else float(expected.value))


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
