"""Minute values, buckets and what is usual."""

from __future__ import annotations

import math

import numpy as np
import pytest

from online_models.baseline import MinuteSeries, median

START = 20_000 * 1440


def _days(values: list[float], kind: str = "count") -> MinuteSeries:
    series = MinuteSeries(kind)  # type: ignore[arg-type]
    for day, value in enumerate(values):
        for minute in range(1440):
            series.put(START + day * 1440 + minute, value)
    return series


def test_a_minute_written_twice_counts_once_and_a_correction_replaces() -> None:
    series = MinuteSeries()
    for value in (3.0, 3.0, 7.0):
        assert series.put(START, value)
    assert series.bucket(START // 5) == 7.0


def test_unwritten_minutes_are_zero_for_counts_and_unknown_for_gauges() -> None:
    counts, gauge = MinuteSeries(), MinuteSeries("gauge")
    for series in (counts, gauge):
        series.put(START, 10.0)
        series.put(START + 1, 20.0)
        series.put(START + 30, 1.0)
    b = START // 5
    assert (counts.bucket(b), counts.bucket(b + 1), counts.bucket(b + 100)) == (30.0, 0.0, 0.0)
    assert gauge.bucket(b) == 15.0 and math.isnan(gauge.bucket(b + 1)) and math.isnan(counts.bucket(b - 1))


def test_expectation_is_the_median_of_the_same_time_on_earlier_days() -> None:
    series = _days([2, 4, 6, 100, 8, 10, 12])
    found = series.baseline((START + 7 * 1440 + 600) // 5, 3)
    assert found is not None
    assert (found.expected, found.days) == (40.0, 7)
    assert found.sigma == pytest.approx(1.4826 * 20)


def test_no_expectation_before_enough_days() -> None:
    series = _days([5, 5, 5, 5])
    noon = (START + 720) // 5
    assert [series.baseline(noon + 288 * day, 3) is None for day in range(5)] == [True, True, True, False, False]


def test_history_is_bounded_and_old_or_unreadable_values_are_refused() -> None:
    series = _days([1.0] * 10)
    assert not series.put(START, 5.0)
    assert not series.put(START + 10 * 1440, math.nan)
    assert not series.put(START + 10 * 1440, math.inf)
    assert math.isnan(series.bucket(START // 5)) and series.bucket((START + 9 * 1440) // 5) == 5.0


def test_a_gap_longer_than_the_ring_leaves_nothing_stale() -> None:
    series = _days([9.0])
    series.put(START + 100 * 1440, 1.0)
    assert np.nansum(series.buckets(np.arange((START + 95 * 1440) // 5, (START + 101 * 1440) // 5))) == 1.0


def test_values_may_arrive_in_any_order() -> None:
    rng = np.random.default_rng(1)
    minutes = rng.permutation(5 * 1440)
    ordered, shuffled = MinuteSeries(), MinuteSeries()
    for m in range(5 * 1440):
        ordered.put(START + m, float(m % 17))
    for m in minutes:
        shuffled.put(START + int(m), float(m % 17))
    numbers = np.arange(START // 5, START // 5 + 5 * 288)
    assert np.array_equal(ordered.buckets(numbers), shuffled.buckets(numbers))


def test_noise_of_a_poisson_series_is_near_one() -> None:
    rng = np.random.default_rng(2)
    series = MinuteSeries()
    for m in range(8 * 1440):
        series.put(START + m, float(rng.poisson(20 + 10 * math.sin(m / 229))))
    noise = series.noise((START + 8 * 1440) // 5, 3)
    assert noise is not None and noise == pytest.approx(1.0, abs=0.12)


def test_median_ignores_what_is_unknown() -> None:
    values = np.array([[1.0, np.nan, 4.0], [3.0, np.nan, np.nan], [2.0, np.nan, 8.0]])
    assert np.array_equal(median(values), np.array([2.0, np.nan, 6.0]), equal_nan=True)


def test_buckets_must_divide_a_day() -> None:
    with pytest.raises(ValueError, match="do not divide a day"):
        MinuteSeries(bucket_minutes=7)
