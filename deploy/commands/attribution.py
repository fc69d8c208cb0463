"""`headrace attribution FILE --out OUT`: what each channel is credited with, by six models, out of a file of paths.

Progress goes to standard error, one JSON line to standard output: rows, channels, conversions, value, seconds. A file
has no times, so time decay takes touches to be a day apart. Exit status 2 for a fault of the input.
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.clock import SystemClock
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from api.attribution.models import Rules


def attribution(
    file: Annotated[
        Path,
        typer.Argument(help="CSV or Parquet: path,conversions,value[,nulls], steps a > b > c; - is standard input."),
    ],
    *,
    out: Annotated[Path, typer.Option(help="CSV to write: a row for each channel, a column for each model.")],
    half_life: Annotated[
        float | None, typer.Option(help="Time decay: a touch so many steps before the last weighs half; else 7.")
    ] = None,
) -> None:
    """Credit channels for conversions by first, last, linear, time decay, position based and Markov."""
    from api.attribution.models import MODELS, credited, total
    from deploy.paths import Paths, write_credit
    from deploy.table import open_table

    rules, clock, paths = _rules(half_life), SystemClock(), Paths()
    _check_out(file, out)
    begin = clock.monotonic()
    with open_table(file) as table:
        paths.read(table, _Meter(clock, table.progress))
    distinct = paths.all()
    end = "\r\x1b[K" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{end}{paths.rows:,} rows, {len(distinct):,} distinct paths; solving\n")
    found = credited(distinct, MODELS, rules)
    write_credit(out, found)
    summary = {
        "rows": paths.rows,
        "channels": len(found.removal),
        "conversions": _plain(total(distinct, 0)),
        "value": _plain(total(distinct, 1)),
        "nulls": _plain(sum((Fraction(path.nulls) for path in distinct), Fraction(0))),
        "seconds": round(clock.monotonic() - begin, 3),
    }
    sys.stdout.write(json.dumps(summary) + "\n")


def _rules(half_life: float | None) -> Rules:
    from api.attribution.models import Rules
    from schemas.attribution import shipped_attribution

    shipped = shipped_attribution()
    span, ends = shipped.half_life_days, shipped.position_percent
    steps = span.default if half_life is None else half_life
    if not span.min <= steps <= span.max:
        raise ConfigError(f"must lie between {span.min:g} and {span.max:g}", key="--half-life")
    return Rules(steps, Fraction(ends.first, 100), Fraction(ends.last, 100))


def _check_out(file: Path, out: Path) -> None:
    """Refuse before the work what could not be written after it."""
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(
            "is a folder or lies in none; name a file in a folder that is there", file=str(out), key="--out"
        )
    if file.exists() and out.exists() and out.samefile(file):
        raise ConfigError("is the file that is read; name another", file=str(out), key="--out")


class _Meter:
    """Progress on standard error: a line that is written over on a terminal, one every 5 seconds elsewhere."""

    def __init__(self, clock: SystemClock, progress: Any) -> None:
        self._clock, self._progress = clock, progress
        self._next = clock.monotonic()

    def __call__(self, rows: int) -> None:
        now, terminal = self._clock.monotonic(), sys.stderr.isatty()
        if now < self._next:
            return
        self._next = now + (0.2 if terminal else 5.0)
        share = f"{100 * self._progress.done / self._progress.size:3.0f} %  " if self._progress.size else ""
        text = f"{share}{rows:>12,} rows"
        sys.stderr.write(f"\r{text}\x1b[K" if terminal else text + "\n")
        sys.stderr.flush()


def _plain(number: Fraction) -> int | float:
    return int(number) if number.denominator == 1 else float(number)
