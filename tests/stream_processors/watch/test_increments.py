"""What counters grew by, over restarts, gaps, and several processes behind one address."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_processors.watch.increments import MAX_PROCESSES, Increments

NOW = 1_795_000_000.0


def test_what_was_counted_before_the_first_look_is_left_out() -> None:
    counts = Increments(300)
    counts.add(NOW - 86_400, {"200": 5_000, "503": 900}, NOW)
    assert counts.over(300, NOW) == {}
    counts.add(NOW - 86_400, {"200": 5_010, "503": 900}, NOW + 5)
    assert counts.over(300, NOW + 5) == {"200": 10}


def test_a_label_that_is_new_counts_from_zero() -> None:
    counts = Increments(300)
    counts.add(None, {"200": 7}, NOW)
    counts.add(None, {"200": 7, "503": 2}, NOW + 5)
    assert counts.over(300, NOW + 5) == {"503": 2}


def test_a_total_that_went_down_is_a_restart_and_counts_from_zero() -> None:
    counts = Increments(300)
    counts.add(None, {"200": 100, "503": 40}, NOW)
    counts.add(None, {"200": 3}, NOW + 5)
    assert counts.over(300, NOW + 5) == {"200": 3}


def test_a_restart_shows_by_the_start_time_also_when_the_total_is_higher_than_before() -> None:
    counts = Increments(300)
    counts.add(NOW - 60, {"200": 10}, NOW)
    counts.add(NOW + 1, {"200": 25}, NOW + 5)
    assert counts.over(300, NOW + 5) == {"200": 25}


def test_processes_behind_one_address_are_no_restarts_of_each_other() -> None:
    counts = Increments(300)
    for step in range(6):
        counts.add(NOW - 900, {"200": 10_000 + 2 * step}, NOW + 10 * step)
        counts.add(NOW - 800, {"200": 50 + step, "503": 7}, NOW + 10 * step + 5)
    assert counts.over(300, NOW + 60) == {"200": 15}


def test_the_window_ends_where_it_says() -> None:
    counts = Increments(60)
    for step in range(11):
        counts.add(None, {"200": step}, NOW + 10 * step)
    assert counts.over(60, NOW + 100) == {"200": 6}
    assert counts.over(30, NOW + 100) == {"200": 3}
    assert counts.over(30, NOW + 1_000) == {}


def test_processes_that_are_gone_are_forgotten_at_last() -> None:
    counts = Increments(300)
    counts.add(NOW - 5, {"200": 1}, NOW)
    for number in range(3 * MAX_PROCESSES):
        counts.add(NOW + number, {"200": 1}, NOW + number)
    assert len(counts._totals) == MAX_PROCESSES
    assert counts.over(300, NOW + 3 * MAX_PROCESSES)["200"] == 3 * MAX_PROCESSES


@given(st.lists(st.one_of(st.integers(0, 50), st.none()), max_size=40))
def test_every_request_after_the_first_look_is_counted_once(history: list[int | None]) -> None:
    """Numbers are requests since the look before; None is a restart."""
    counts, started, total, wanted = Increments(1e9), NOW - 10, 0, 0
    counts.add(started, {"200": 5.0}, NOW)
    total = 5
    for step, requests in enumerate(history, 1):
        at = NOW + 5 * step
        if requests is None:
            started, total = at - 1, 0
            continue
        total, wanted = total + requests, wanted + requests
        counts.add(started, {"200": float(total)}, at)
    assert counts.over(1e9, NOW + 1_000)["200"] == wanted
