"""What may be acknowledged: nothing that was not done, whatever was skipped, gone or read again."""

from __future__ import annotations

import random

from stream_processors.offsets import TRIES, Offsets

P, Q = ("headrace.events", 0), ("headrace.events", 1)


def test_nothing_is_acknowledged_past_a_record_that_is_not_done() -> None:
    offsets = Offsets()
    offsets.begin(P, 10)
    assert [offsets.read(P, at) for at in range(10, 15)] == [None] * 5
    assert offsets.acknowledged(P) is None
    offsets.done(P, 11)
    offsets.done(P, 13)
    assert offsets.acknowledged(P) is None
    offsets.done(P, 10)
    assert offsets.acknowledged(P) == 12
    offsets.done(P, 12)
    assert offsets.acknowledged(P) == 14


def test_from_the_beginning_on_the_first_record_counts_too() -> None:
    offsets = Offsets()
    offsets.begin(P, 0)
    for at in range(3):
        offsets.read(P, at)
    offsets.done(P, 2)
    offsets.done(P, 1)
    assert offsets.acknowledged(P) is None
    offsets.done(P, 0)
    assert offsets.acknowledged(P) == 3


def test_what_was_done_before_a_partition_was_taken_away_counts_for_nothing_after() -> None:
    offsets = Offsets()
    offsets.begin(P, 0)
    for at in range(5):
        offsets.read(P, at)
    offsets.forget([P])
    for at in range(5):
        offsets.done(P, at)
    assert offsets.acknowledged(P) is None
    offsets.begin(P, 2)
    offsets.done(P, 3)
    assert offsets.acknowledged(P) is None, "not read since"
    offsets.read(P, 2)
    offsets.done(P, 2)
    assert offsets.acknowledged(P) == 3


def test_due_is_what_was_read_since_reading_began_and_is_not_done() -> None:
    """Whether the assignment has been told yet does not matter: what comes first after it must not be left out."""
    offsets = Offsets()
    assert not offsets.is_due(P, 5)
    offsets.begin(P, 5)
    assert not offsets.is_due(P, 5), "not read"
    offsets.read(P, 5)
    offsets.read(P, 6)
    assert offsets.is_due(P, 5) and offsets.is_due(P, 6)
    offsets.done(P, 6)
    assert offsets.is_due(P, 5) and not offsets.is_due(P, 6)
    offsets.hold()
    assert not offsets.is_due(P, 5)
    offsets.begin(P, 5)
    assert not offsets.is_due(P, 5), "it comes again"
    offsets.read(P, 5)
    assert offsets.is_due(P, 5)


def test_records_that_were_passed_over_are_fetched_again() -> None:
    offsets = Offsets()
    offsets.begin(P, 10)
    assert offsets.read(P, 10) is None
    assert offsets.read(P, 15) == 11
    assert offsets.read(P, 11) is None
    assert offsets.read(P, 14) == 12, "another gap"


def test_records_that_are_gone_hold_up_nothing() -> None:
    offsets = Offsets()
    offsets.begin(P, 10)
    offsets.read(P, 10)
    assert [offsets.read(P, 1_000_000_000_000) for _ in range(TRIES + 1)] == [11] * TRIES + [None]
    offsets.done(P, 1_000_000_000_000)
    assert offsets.acknowledged(P) is None
    offsets.done(P, 10)
    assert offsets.acknowledged(P) == 1_000_000_000_001


def test_whatever_happens_only_what_is_done_is_acknowledged() -> None:
    for seed in range(300):
        rng = random.Random(seed)
        offsets, stored, at = Offsets(), set[int](), 0
        committed = 0
        offsets.begin(Q, 0)
        waiting: list[int] = []
        back: int | None = None
        for _ in range(200):
            what = rng.random()
            if what < 0.5:
                back = offsets.read(Q, at)
                if back is None:
                    waiting.append(at)
                    at += 1
                else:
                    at = back
            elif what < 0.9 and waiting:
                one = waiting.pop(rng.randrange(len(waiting)))
                stored.add(one)
                offsets.done(Q, one)
            elif what < 0.93 and back is None:
                at += rng.randrange(4)  # a fetch whose records nobody saw
            elif what < 0.96:
                offsets.forget([Q])
                offsets.begin(Q, committed)
                at = committed
            elif waiting:
                waiting.pop()  # skipped
            acknowledged = offsets.acknowledged(Q)
            if acknowledged is not None:
                committed = max(committed, acknowledged)
            assert stored.issuperset(range(committed))
