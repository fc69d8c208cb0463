"""What is said of cohorts: worked out by hand, and no more false sentences than promised."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from api.cohort_insights import Cell, Cohort, average, benchmarks, insights, p_value
from schemas.cohorts import CohortRules, shipped_cohort_rules

RULES = shipped_cohort_rules()


def cohort(name: str, users: int, *active: int | None) -> Cohort:
    return Cohort(name, name.title(), users, tuple(None if n is None else Cell(users, n) for n in active))


def kinds(cohorts: list[Cohort], months: int, rules: CohortRules = RULES) -> list[tuple[str, str | None, int]]:
    return [(one["kind"], one["cohort"], one["month"]) for one in insights(cohorts, months, rules)]


def test_the_test_is_that_of_the_textbook() -> None:
    """120 of 200 and 90 of 200: pooled 0.525, standard error 0.04994, z 3.0038, p 0.00267."""
    assert p_value(Cell(200, 120), Cell(200, 90)) == pytest.approx(0.002667, abs=2e-6)
    assert p_value(Cell(200, 90), Cell(200, 120)) == p_value(Cell(200, 120), Cell(200, 90))
    assert p_value(Cell(200, 200), Cell(300, 300)) is None and p_value(Cell(200, 0), Cell(300, 0)) is None


def test_the_average_is_weighted_and_leaves_out_who_has_not_come_so_far() -> None:
    many, few = cohort("many", 300, 300, 90, None), cohort("few", 100, 100, 70, 20)
    assert average([many, few], 2) == [Cell(400, 400), Cell(400, 160), Cell(100, 20)]
    found = benchmarks([many, few], 2, RULES)
    assert found["few"]["retentionVsAverage"] == {"month0": 0, "month1": 30, "month2": 0}
    assert found["many"]["retentionVsAverage"] == {"month0": 0, "month1": -10, "month2": None}
    assert (found["few"]["cohortPerformance"], found["few"]["month"]) == ("above_average", 1)
    assert found["many"]["cohortPerformance"] == "below_average"


def test_the_best_and_the_worst_are_named_with_their_numbers() -> None:
    cohorts = [cohort("jan", 200, 200, 120), cohort("feb", 200, 200, 90), cohort("mar", 200, 200, 90)]
    best, *rest = insights(cohorts, 1, RULES)
    assert (best["kind"], best["cohort"], best["month"], best["users"]) == ("best_cohort", "jan", 1, 200)
    assert (best["value"], best["average"], best["difference"]) == (60, 50, 10)
    expected = 3 * (p_value(Cell(200, 120), Cell(400, 180)) or 0)
    assert best["p_value"] == expected, "three were compared"
    assert best["text"] == "Jan kept the most in month 1: 60.0 % of 200 users, 10.0 points above the average of 50.0 %."
    assert [one["kind"] for one in rest] == [], "90 of 200 against 210 of 400 is not below 0.05, three times over"


def test_a_small_cohort_and_a_small_rest_say_nothing() -> None:
    large = cohort("large", 1000, 1000, 500)
    assert kinds([large, cohort("small", 99, 99, 99)], 1) == []
    assert [one[:2] for one in kinds([large, cohort("enough", 100, 100, 100)], 1)] == [
        ("best_cohort", "enough"), ("worst_cohort", "large"),
    ]  # fmt: skip
    assert kinds([large], 1) == [] and kinds([], 12) == []


def test_low_retention_is_below_the_limit_by_more_than_chance() -> None:
    """Below 50 % in month 3: 41 of 100 has a one-sided p of 0.036, 42 one of 0.055."""
    for left, said in ((41, True), (42, False), (60, False)):
        assert (("low_retention", "a", 3) in kinds([cohort("a", 100, 100, 90, 90, left)], 3)) is said
    assert kinds([cohort("a", 99, 99, 90, 90, 10)], 3) == [], "too few"
    two = [cohort("a", 100, 100, 90, 90, 41), cohort("b", 100, 100, 90, 90, 90)]
    assert ("low_retention", "a", 3) not in kinds(two, 3), "two were looked at"


def test_the_largest_drop_compares_the_same_cohorts() -> None:
    """A cohort that has not come so far does not count in the month before either."""
    old, young = cohort("old", 400, 400, 300, 290, 230), cohort("young", 900, 900, 900, None, None)
    found = [one for one in insights([old, young], 3, RULES) if one["kind"] == "largest_drop"]
    assert [(one["month"], one["value"], one["average"], one["difference"]) for one in found] == [(3, 57.5, 72.5, -15)]
    assert found[0]["text"].startswith("The largest drop is from month 2 to month 3: 72.5 % to 57.5 %")
    flat = cohort("flat", 400, 400, 200, 198, 197)
    assert [one for one in kinds([flat], 3) if one[0] == "largest_drop"] == []


def test_chance_makes_few_sentences() -> None:
    """Twelve cohorts that do not differ: in at most 5 of 100 worlds one is called best or worst, and not never."""
    rng, worlds = random.Random(3), 600
    rules = RULES.model_copy(update={"months": (1,)})
    false = 0
    for _ in range(worlds):
        cells = [Cell(150, sum(rng.random() < 0.3 for _ in range(150))) for _ in range(12)]
        cohorts = [Cohort(str(n), str(n), 150, (Cell(150, 150), cell)) for n, cell in enumerate(cells)]
        false += bool(insights(cohorts, 1, rules))
    assert 0.01 < false / worlds < 0.07
    assert Fraction(false) > 0
