"""A sum over a long window is the same as one question gives, and reads only what is new."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from schemas.errors import Retryable
from stream_processors.watch.long_sums import LongSum


class Table:
    """Rows (moment, tenant, n) and the moments before or from which they were asked."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, str, int]] = []
        self.asked: list[tuple[str, float]] = []
        self.away = False

    def read(self, side: str, cut: float) -> Iterable[dict[str, Any]]:
        if self.away:
            raise Retryable("away")
        self.asked.append((side, cut))
        for at, tenant, n in self.rows:
            if (at < cut) == (side == "<"):
                yield {"tenant": tenant, "n": str(n), "newest": at}


@pytest.fixture
def table() -> Table:
    return Table()


def test_sums_of_both_parts_are_added_and_the_newest_is_taken(table: Table) -> None:
    table.rows = [(10.0, "a", 1), (20.0, "a", 2), (95.0, "a", 4), (96.0, "b", 8)]
    assert LongSum(60.0).ask(100.0, lambda: 90.0, table.read) == {
        "a": {"n": 7, "newest": 95.0},
        "b": {"n": 8, "newest": 96.0},
    }


def test_what_lies_before_the_cut_is_read_once_in_a_while(table: Table) -> None:
    table.rows = [(10.0, "a", 1)]
    long = LongSum(60.0)
    for now in (100.0, 130.0, 159.0):
        table.rows.append((now, "a", 1))
        assert long.ask(now, lambda now=now: now - 10, table.read)["a"]["n"] == len(table.rows)
    assert [side for side, _ in table.asked] == ["<", ">=", ">=", ">="]
    assert {cut for _, cut in table.asked} == {90.0}, "both parts meet at the same moment as long as it holds"
    table.rows[:] = table.rows[1:]
    assert long.ask(160.0, lambda: 150.0, table.read)["a"] == {"n": 3, "newest": 159.0}
    assert table.asked[-2:] == [("<", 150.0), (">=", 150.0)]


def test_a_question_that_fails_is_asked_anew(table: Table) -> None:
    long = LongSum(60.0)
    table.away = True
    with pytest.raises(Retryable):
        long.ask(100.0, lambda: 90.0, table.read)
    table.away, table.rows = False, [(10.0, "a", 1)]
    assert long.ask(101.0, lambda: 91.0, table.read)["a"]["n"] == 1


def test_a_clock_that_is_set_back_begins_anew(table: Table) -> None:
    table.rows = [(10.0, "a", 1)]
    long = LongSum(60.0)
    long.ask(10_000.0, lambda: 9_990.0, table.read)
    long.ask(100.0, lambda: 90.0, table.read)
    assert table.asked[-2:] == [("<", 90.0), (">=", 90.0)]
