"""How much questions read: conditions on the time hold to the millisecond, and read the rows of their days alone."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from api.slices import BEGINNING, DAY_MS, Binder, Slice
from api.sources import pieces_where, span_where
from tests.support.chdb_warehouse import ChdbWarehouse

FIRST = 20_000
"""The first day of the rows, since 1970."""
DAYS = 5
A_DAY = 50_000
"""Rows of each day: some granules."""
START = FIRST * DAY_MS
END = START + DAYS * DAY_MS
STEP = DAY_MS // A_DAY
FAR = 7_000_000_000_000
"""A moment of 2191, later than days of ClickHouse's Date."""


@pytest.fixture(scope="module")
def house() -> ChdbWarehouse:
    """Rows of one event type at equal steps, the first at the first millisecond of its day; one part."""
    one = ChdbWarehouse()
    one.command(
        "INSERT INTO events (tenant, event_id, event_type, timestamp, received_at, user_id)"
        " SELECT 'demo', toString(number), 'user_engaged',"
        f" fromUnixTimestamp64Milli(toInt64({START} + number * {STEP}), 'UTC'),"
        f" toDateTime64({END // 1000}, 3, 'UTC'), concat('u', toString(number % 500)) FROM numbers({DAYS * A_DAY})"
    )
    one.command("OPTIMIZE TABLE events FINAL")
    return one


def counted(pieces: Sequence[tuple[int, int]]) -> int:
    """How many of the rows lie in one of the parts."""
    return sum(
        len(range(max(0, -(-(start - START) // STEP)), min(DAYS * A_DAY, -(-(end - START) // STEP))))
        for start, end in pieces
    )


def found(house: ChdbWarehouse, bind: Binder, conditions: Sequence[str]) -> tuple[int, int]:
    """How many rows the conditions select, and how many are read for it by the engine's own estimate."""
    sql = f"FROM events WHERE tenant = 'demo' AND event_type = 'user_engaged' AND {' AND '.join(conditions)}"
    read = house.query(f"EXPLAIN ESTIMATE SELECT user_id {sql}", bind.params)
    return int(house.query(f"SELECT count() AS n {sql}", bind.params)[0]["n"]), sum(int(row["rows"]) for row in read)


def span(start: int, end: int, since: int | None) -> tuple[Binder, list[str]]:
    bind = Binder()
    return bind, span_where(bind, Slice("demo", start, end, {}), since)


@pytest.mark.parametrize("day", range(DAYS))
def test_a_day_costs_its_rows(house: ChdbWarehouse, day: int) -> None:
    start = START + day * DAY_MS
    for begin, end in ((start, start + DAY_MS), (start + 1, start + DAY_MS // 3), (start, start + 1)):
        n, read = found(house, *span(begin, end, begin))
        assert n == counted([(begin, end)])
        assert 0 < read < 1.4 * A_DAY


def test_all_history_costs_the_rows_before_the_end(house: ChdbWarehouse) -> None:
    n, read = found(house, *span(START, START + 2 * DAY_MS, None))
    assert n == 2 * A_DAY <= read < 2.4 * A_DAY


def test_parts_cost_the_rows_of_their_days(house: ChdbWarehouse) -> None:
    """The first day and a piece of the last one, without what lies between."""
    pieces = ((START, START + DAY_MS), (END - DAY_MS // 2, END - 5))
    bind = Binder()
    n, read = found(house, bind, pieces_where(bind, pieces))
    assert n == counted(pieces)
    assert 0 < read < 2.4 * A_DAY


def test_a_part_from_before_all_events_is_named_by_its_ends(house: ChdbWarehouse) -> None:
    """Not by its days: there are 45,000."""
    pieces = ((BEGINNING, START + DAY_MS), (END - DAY_MS, FAR))
    bind = Binder()
    n, read = found(house, bind, pieces_where(bind, pieces))
    assert n == counted(pieces) == 2 * A_DAY
    assert read < 2.4 * A_DAY
    assert len(repr(bind.params)) < 1_000


@pytest.mark.parametrize("seed", range(30))
def test_any_parts_hold_exactly_their_rows(house: ChdbWarehouse, seed: int) -> None:
    """Cut at midnights, a millisecond beside them, and anywhere; beginning and ending anywhere in time."""
    chance = Random(seed)
    near = [START + day * DAY_MS + off for day in range(-1, DAYS + 2) for off in (-1, 0, 1, STEP, -STEP)]
    anywhere = [chance.randrange(START - DAY_MS, END + DAY_MS) for _ in range(10)]
    cuts = sorted(chance.sample([*near, *anywhere, BEGINNING, 0, FAR], 2 * chance.randint(1, 4)))
    pieces = tuple((start, end) for start, end in zip(cuts[::2], cuts[1::2], strict=True) if start < end)
    bind = Binder()
    n, _ = found(house, bind, pieces_where(bind, pieces))
    assert n == counted(pieces)
    bind, conditions = span(cuts[0], cuts[-1], cuts[0])
    assert found(house, bind, conditions)[0] == counted([(cuts[0], cuts[-1])])
