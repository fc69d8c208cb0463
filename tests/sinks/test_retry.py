"""Back-off: grows, is capped, differs by seed, and gives up when told."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from schemas.clock import ManualClock
from schemas.errors import Permanent, Retryable
from sinks.retry import waits, with_retries
from sinks.settings import RetrySettings


def test_waits_double_up_to_the_cap_and_jitter_only_shortens() -> None:
    plain = list(islice(waits(RetrySettings(base_seconds=1, cap_seconds=5, jitter=0), Random(0)), 5))
    assert plain == [1, 2, 4, 5, 5]
    jittered = list(islice(waits(RetrySettings(base_seconds=1, cap_seconds=5, jitter=0.5), Random(0)), 5))
    assert all(full / 2 <= wait <= full for wait, full in zip(jittered, plain, strict=True))


def test_the_same_seed_waits_the_same() -> None:
    runs = [list(islice(waits(RetrySettings(), Random(seed)), 4)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_it_gives_up_after_the_attempts_with_the_last_fault() -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise Retryable(f"try {len(calls)}")

    with pytest.raises(Retryable, match="try 3"):
        with_retries(call, ManualClock(), attempts=3)


def test_other_errors_pass_at_once() -> None:
    def call() -> None:
        raise Permanent("no")

    clock = ManualClock()
    began = clock.now()
    with pytest.raises(Permanent):
        with_retries(call, clock)
    assert clock.now() == began
