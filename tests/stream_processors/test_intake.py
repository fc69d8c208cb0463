"""What a worker takes at once is bounded in bytes, whatever the size of a record."""

from __future__ import annotations

import random

from stream_processors.intake import BATCH_BYTES, FETCH_BYTES, HELD_BYTES, MOST_RECORDS, Intake, cut


def test_small_records_are_fetched_by_the_thousand_and_large_ones_by_the_handful() -> None:
    intake = Intake()
    for _ in range(50):
        intake.fetched([300] * 100)
    assert intake.records == MOST_RECORDS
    intake.fetched([900_000] * 10)
    assert intake.records * 900_000 <= FETCH_BYTES
    for _ in range(50):
        intake.fetched([300] * 100)
    assert intake.records == MOST_RECORDS
    intake.fetched([50 << 20])
    assert intake.records == 1


def test_nothing_more_is_fetched_when_enough_is_held() -> None:
    assert not Intake.is_full([1000] * 100)
    assert Intake.is_full([HELD_BYTES // 10 + 1] * 10)


def test_batches_keep_the_order_and_are_cut_by_bytes() -> None:
    rng = random.Random(3)
    records = [(number, rng.choice((500, 5000, 900_000, BATCH_BYTES + 1))) for number in range(300)]
    pieces = list(cut(records))
    assert [number for piece in pieces for number in piece] == list(range(300))
    sizes = dict(records)
    assert all(len(piece) == 1 or sum(sizes[number] for number in piece) <= BATCH_BYTES for piece in pieces)
    assert list(cut([])) == []
