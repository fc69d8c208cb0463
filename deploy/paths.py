"""A file of journeys' paths and what the attribution models make of it: `headrace attribution` without its options.

Columns: `path` (steps `a > b > c`), `conversions`, `value`, and optionally `nulls`, how often the path led to nothing;
also under the names that the R and Python package ChannelAttribution uses. Paths that repeat are added up.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from api.attribution.models import MODELS, Credited, Number
from api.attribution.models import Path as Steps
from deploy.table import Table
from schemas.errors import ConfigError

ALIASES: Final = {
    "path": (),
    "conversions": ("total_conversions",),
    "value": ("total_conversion_value", "conversion_value", "total_value"),
    "nulls": ("total_null", "null", "total_nulls"),
}
MOST_CHANNELS: Final = 2_000
"""The Markov chain is solved whole, in memory that grows with the square of this."""
_EVERY: Final = 5_000
_MOST_DIGITS: Final = 18
_MOST_PLACES: Final = 30
_MOST_TEXT: Final = 60


class Paths:
    """Distinct paths, added up row by row."""

    def __init__(self) -> None:
        self.rows = 0
        self._found: dict[tuple[str, ...], list[Number]] = {}

    def read(self, table: Table, tell: Callable[[int], None]) -> None:
        """Add the rows of a table, telling every some thousand how many. Raises ConfigError for a fault."""
        places = {name: table.place(name, aliases, required=name != "nulls") for name, aliases in ALIASES.items()}
        numbers = [(name, places[name]) for name in ("conversions", "value", "nulls")]
        steps_at = places["path"]
        for line, cells in table.rows:
            steps = _steps(table, line, cells[steps_at or 0])
            found = [0 if at is None else _number(table, line, name, cells[at]) for name, at in numbers]
            before = self._found.get(steps)
            self._found[steps] = found if before is None else [a + b for a, b in zip(before, found, strict=True)]
            self.rows += 1
            if self.rows % _EVERY == 0:
                tell(self.rows)
        self._check(table)

    def all(self) -> list[Steps]:
        """Every distinct path, in order: conversions and value are its totals."""
        return [
            Steps(steps, (conversions, value), nulls)
            for steps, (conversions, value, nulls) in sorted(self._found.items())
        ]

    def _check(self, table: Table) -> None:
        if not self.rows:
            raise ConfigError("has no rows below its header", file=str(table.path))
        channels = len({step for steps in self._found for step in steps})
        if channels > MOST_CHANNELS:
            raise table.fault(
                1, "path", f"{channels:,} channels are too many, {MOST_CHANNELS:,} are the most; group small ones first"
            )


def _steps(table: Table, line: int, cell: Any) -> tuple[str, ...]:
    steps = tuple(step.strip() for step in str(cell if cell is not None else "").split(">"))
    if not all(steps):
        raise table.fault(line, "path", "has an empty step; write its steps as a > b > c")
    return steps


def _number(table: Table, line: int, column: str, cell: Any) -> Number:
    """A cell as an exact number. Only a value may be negative."""
    text = str(cell if cell is not None else "").strip()
    if text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS:
        return int(text)
    try:
        number = Decimal(text if len(text) <= _MOST_TEXT else "")
    except InvalidOperation:
        raise table.fault(line, column, f"{text[:40]!r} is no number; write it like 12 or 12.5") from None
    if not number.is_finite() or (number and not -_MOST_PLACES <= number.adjusted() < _MOST_DIGITS):
        raise table.fault(line, column, f"{text[:40]!r} is too large, too small or no number")
    if number < 0 and column != "value":
        raise table.fault(line, column, f"{text[:40]!r} is negative; it counts journeys, so write 0 or more")
    return Fraction(number)


def write_credit(out: Path, found: Credited) -> None:
    """A row for each channel: conversions and value by model, and the removal effect. Raises ConfigError."""
    header = ["channel", *MODELS, *(f"{model}_value" for model in MODELS), "removal_effect"]
    try:
        with out.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(_rows(found))
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(out)) from error


def _rows(found: Credited) -> Iterable[list[Any]]:
    for channel in sorted(found.removal):
        credit = [found.models[model][channel] for model in MODELS]
        yield [channel, *(float(one[0]) for one in credit), *(float(one[1]) for one in credit), found.removal[channel]]
