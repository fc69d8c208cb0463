"""Numbers that the pipeline must give for the data sets, from the raw files, without the mapping."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any, NamedTuple

from tests.real_data.mapping import CDNOW, SPARKIFY, require


class Purchases(NamedTuple):
    """Exact totals: money in currency units with whole cents."""

    orders: int
    customers: int
    revenue: Decimal

    @property
    def average(self) -> Decimal:
        """Revenue by order, to the cent."""
        return (self.revenue / self.orders).quantize(Decimal("0.01"))


def cdnow_purchases() -> Purchases:
    """Column sums of the fixed-width file."""
    text = require(CDNOW).read_bytes().decode("ascii")
    lines = [line for line in text.split("\r\n") if line]
    dollars = [Decimal(line[22:].strip().split()[-1]) for line in lines]
    return Purchases(len(lines), len({line[7:11] for line in lines}), sum(dollars, Decimal(0)))


class Listening(NamedTuple):
    """Counts of the listening logs."""

    events: int
    listeners: int
    anonymous_sessions: int
    pages: Counter[str]

    @property
    def users(self) -> int:
        return self.listeners + self.anonymous_sessions


def sparkify_listening() -> Listening:
    """Counts over the log files, as one text."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(require(SPARKIFY).iterdir()))
    decoder, place, rows = json.JSONDecoder(), 0, list[Any]()
    while place < len(text):
        row, place = decoder.raw_decode(text, place)
        rows.append(row)
        while place < len(text) and text[place].isspace():
            place += 1
    return Listening(
        events=len(rows),
        listeners=len({row["userId"] for row in rows} - {""}),
        anonymous_sessions=len({row["sessionId"] for row in rows if row["userId"] == ""}),
        pages=Counter(row["page"] for row in rows),
    )
