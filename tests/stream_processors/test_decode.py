"""A record that is no chunk is set aside with its reason and costs no other."""

from __future__ import annotations

import random
from typing import Any

import pytest

from schemas.wire import ChunkCount, encode_counts
from stream_processors.decode import decode_batch
from stream_processors.ports import Record
from tests.support.chunks import random_event, record

GOOD = record([random_event(random.Random(n), n) for n in range(3)], 0, 1, 9)


def broken(**changes: Any) -> Record:
    return GOOD._replace(**changes)


@pytest.mark.parametrize(
    "bad, says",
    [
        (broken(value=b"{not json\n"), "not a chunk"),
        (broken(value=b"\x80\xff"), "not a chunk"),
        (broken(value=b'{"tenant":"demo"}\n'), "not a chunk"),
        (broken(headers={}), "not a chunk"),
        (broken(headers={**GOOD.headers, "chunk": b"x"}), "not a chunk"),
        (broken(headers={**GOOD.headers, "counts": b"[]"}), "declares 0 events, the chunk holds 3"),
        (broken(headers={**GOOD.headers, "counts": encode_counts([ChunkCount("demo", 0, "", 4)])}), "declares 4"),
    ],
)
def test_a_broken_record_is_poison_and_the_next_is_not(bad: Record, says: str) -> None:
    batch = decode_batch([bad._replace(offset=7), GOOD])
    assert [chunk.number for chunk in batch.chunks] == [9]
    ((partition, offset, why),) = batch.poison
    assert (partition, offset) == (0, 7)
    assert says in why
    assert "partition 0 offset 7" in why
