"""A table from a file: CSV (comma, semicolon or tab; plain, gzip or zstd) or Parquet, a row at a time.

Cells of a CSV are text, those of Parquet plain values. Faults are `ConfigError`s that name file, line and column.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from deploy.backfill.source import BROKEN, Progress, damaged, opened, peek
from schemas.errors import ConfigError
from schemas.taxonomy.yamlfile import hint

SEPARATORS: Final = (",", ";", "\t")
_MOST_HEADER: Final = 1 << 16
_PARQUET: Final = b"PAR1"
Row = tuple[int, Sequence[Any]]
"""Line of the file (in Parquet: the row's number), and the cells."""


@dataclass(frozen=True)
class Table:
    """`names`: the header, stripped. `rows`: can be taken once. `progress`: how far the file is read."""

    path: Path
    names: tuple[str, ...]
    rows: Iterator[Row]
    progress: Progress

    def place(self, wanted: str, aliases: Sequence[str] = (), *, required: bool = True) -> int | None:
        """The place of a column, in any case; None without it. Raises ConfigError where it is required."""
        lowered = [name.lower() for name in self.names]
        for name in (wanted, *aliases):
            if name in lowered:
                return lowered.index(name)
        if not required:
            return None
        known = ", ".join(self.names)
        raise ConfigError(
            f"is not in the header, which has: {known}{hint(wanted, self.names)}",
            file=str(self.path),
            line=1,
            key=wanted,
        )

    def fault(self, line: int, column: str, message: str) -> ConfigError:
        """The error to raise for a cell."""
        return ConfigError(message, file=str(self.path), line=line, key=column)


@contextmanager
def open_table(path: Path) -> Iterator[Table]:
    """The table in `path` (`-` is standard input). Raises `ConfigError`, also while rows are taken."""
    with opened(path) as (stream, progress):
        if not peek(stream, 4, path).startswith(_PARQUET):
            yield _csv(stream, path, progress)
            return
    from deploy.backfill.parquet import parquet_table

    with parquet_table(path) as (names, cells, progress):
        yield Table(path, tuple(names), enumerate(cells, 1), progress)


def _csv(stream: BinaryIO, path: Path, progress: Progress) -> Table:
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        header = text.readline(_MOST_HEADER)
    except (UnicodeDecodeError, *BROKEN) as error:
        raise _unreadable(error, path, 1) from error
    if not header.strip():
        raise ConfigError("is empty; the first line names the columns", file=str(path), line=1)
    separator = max(SEPARATORS, key=header.count)
    names = tuple(name.strip() for name in next(csv.reader([header], delimiter=separator)))
    if twice := next((name for at, name in enumerate(names) if name in names[:at]), None):
        raise ConfigError("stands twice in the header; rename one", file=str(path), line=1, key=twice)
    return Table(path, names, _rows(text, separator, len(names), path), progress)


def _rows(text: io.TextIOWrapper, separator: str, width: int, path: Path) -> Iterator[Row]:
    reader, line = csv.reader(text, delimiter=separator, strict=True), 1
    try:
        for cells in reader:
            line, begin = reader.line_num + 1, line + 1
            if not cells:
                continue
            if len(cells) != width:
                raise ConfigError(
                    f"has {len(cells)} cells, the header {width}; put a cell that holds {separator!r} in quotes",
                    file=str(path), line=begin,
                )  # fmt: skip
            yield begin, cells
    except (UnicodeDecodeError, csv.Error, *BROKEN) as error:
        raise _unreadable(error, path, line + 1) from error


def _unreadable(error: Exception, path: Path, line: int) -> ConfigError:
    if isinstance(error, UnicodeDecodeError):
        return ConfigError(
            "is no UTF-8, here or soon below; convert it, for example with iconv", file=str(path), line=line
        )
    if isinstance(error, csv.Error):
        return ConfigError(f"is no CSV here: {error}", file=str(path), line=line)
    return damaged(error, path)
