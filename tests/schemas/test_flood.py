"""What is a flood of bad messages, and what is not."""

from __future__ import annotations

import math
import random
from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.flood import Flood, FloodGuard, FloodLimits


def feed(guard: FloodGuard, kinds: list[int]) -> int:
    """Feed 1 for bad, 0 for good; how many were taken before the flood was noticed."""
    for number, bad in enumerate(kinds):
        try:
            guard.bad(f"offset {number}", "garbage") if bad else guard.good(1)
        except Flood:
            return number
    return len(kinds)


@pytest.mark.parametrize("seed", range(5))
def test_one_in_a_hundred_is_no_flood_however_they_fall(seed: int) -> None:
    kinds = [1] * 1_000 + [0] * 99_000
    random.Random(seed).shuffle(kinds)
    assert feed(FloodGuard("t"), kinds) == 100_000


def test_a_thousand_in_a_row_are_a_flood_whatever_came_before() -> None:
    kinds = [0] * 50_000 + [1] * 2_000
    assert feed(FloodGuard("t", FloodLimits(share=0.99)), kinds) == 50_999


def test_over_a_tenth_is_a_flood_once_enough_was_seen() -> None:
    kinds = [0, 0, 0, 1] * 2_000
    assert feed(FloodGuard("t"), kinds) == 999
    assert feed(FloodGuard("t"), [1] * 900) == 900


def test_a_large_chunk_counts_as_the_events_it_holds() -> None:
    guard = FloodGuard("t")
    for _ in range(100):
        guard.good(990)
        for _ in range(10):
            guard.bad("here", "garbage")


def test_what_lies_outside_the_window_is_forgotten() -> None:
    guard = FloodGuard("t", FloodLimits(window=1_000, least=500, row=10_000))
    assert feed(guard, ([1] * 90 + [0] * 910) * 20) == 20_000


def test_a_flood_says_where_it_began_and_what_it_is() -> None:
    guard = FloodGuard("headrace.events", FloodLimits(least=2, row=3))
    with pytest.raises(Flood, match=r"headrace.events.*offset 7.*dead-letters flood.*broken") as caught:
        for offset in (7, 8, 9):
            guard.bad(f"offset {offset}", "broken")
    assert caught.value.place == "offset 7"


def test_what_an_operator_let_through_counts_for_nothing() -> None:
    guard = FloodGuard("t", FloodLimits(row=2), accepted_until=100.0)
    for _ in range(10):
        guard.bad("here", "garbage", at=99.0)
    guard.bad("here", "garbage", at=101.0)
    with pytest.raises(Flood):
        guard.bad("here", "garbage")
    everything = FloodGuard("t", FloodLimits(row=2), accepted_until=math.inf)
    for at in (0.0, 1.0, 1e12):
        everything.bad("here", "garbage", at)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=60),
    st.builds(FloodLimits, st.sampled_from([0.1, 0.5]), st.integers(1, 80), st.integers(1, 40), st.integers(1, 50)),
)
def test_the_guard_counts_as_a_plain_list_would(runs: list[tuple[bool, int]], limits: FloodLimits) -> None:
    guard, seen, row = FloodGuard("t", limits), deque[bool](maxlen=limits.window), 0
    for bad, n in runs:
        if not bad:
            guard.good(n)
            seen.extend([False] * n)
            row = 0
            continue
        for _ in range(n):
            seen.append(True)
            row += 1
            over = len(seen) >= limits.least and sum(seen) > limits.share * len(seen)
            if over or row >= limits.row:
                with pytest.raises(Flood):
                    guard.bad("here", "garbage")
                return
            guard.bad("here", "garbage")
