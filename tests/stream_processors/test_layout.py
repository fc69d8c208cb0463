"""Chunks of another number of partitions are refused before anything of them is stored."""

from __future__ import annotations

import random

import pytest

from schemas.errors import Fatal
from tests.support.chdb_warehouse import ChdbWarehouse
from tests.support.chunks import chunked, random_event
from tests.support.workers import make_worker, run


def test_a_worker_refuses_chunks_that_were_laid_out_otherwise() -> None:
    rng = random.Random(1)
    some = chunked([random_event(rng, number) for number in range(200)], rng, partitions=4)
    warehouse = ChdbWarehouse()
    with pytest.raises(Fatal, match="another number of partitions than 8"):
        run(make_worker(warehouse, partitions=8), some)
    run(make_worker(warehouse, partitions=4), some)
    assert warehouse.query("SELECT uniqExact(event_id) AS n FROM events") == [{"n": 200}]
