"""A file as a row of pieces: whole lines or rows, some thousand at a time, each with its place in the file.

The reading process cuts; what a piece means is found out where it is decoded (`deploy.backfill.events`). A run that
begins at the end of a piece cuts the same rows from there on, and numbers them the same.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple

from deploy.backfill.mapping import Mapping
from deploy.backfill.source import BLOCK, BROKEN, STDIN, Progress, damaged, opened, pass_over, peek
from schemas.errors import ConfigError

Format = Literal["ndjson", "csv", "parquet"]
MAX_LINE: Final = 1 << 20
"""Bytes. A longer line is no event: its beginning is handed on, to be rejected, and the rest is passed over."""
_CSV_BYTES: Final = 1 << 19
_PEEK: Final = 1 << 16
_PARQUET: Final = b"PAR1"


class Place(NamedTuple):
    """A boundary between rows: inflated bytes, lines and rows that lie before it (in Parquet rows alone)."""

    offset: int = 0
    line: int = 0
    row: int = 0


class Piece(NamedTuple):
    """Rows between two places. `columns`: names of the cells of a CSV. `data`: lines, or an Arrow stream."""

    format: Format
    name: str
    begin: Place
    end: Place
    columns: tuple[str, ...]
    data: bytes


@contextmanager
def pieces(path: Path, mapping: Mapping | None, begin: Place) -> Iterator[tuple[Iterator[Piece], Progress]]:
    """The pieces of a file from `begin` on. Raises `ConfigError` naming the file, also while they are taken."""
    with opened(path) as (stream, progress):
        kind = format_of(peek(stream, _PEEK, path), mapping, path)
        if kind == "csv" and mapping is not None:
            columns, after = _header(stream, mapping, path)
            begin = max(begin, after)
            pass_over(stream, begin.offset - after.offset, path)
            yield _csv_pieces(stream, mapping, path, begin, columns), progress
        elif kind == "ndjson":
            pass_over(stream, begin.offset, path)
            yield _line_pieces(stream, path, begin), progress
    if kind == "parquet":
        from deploy.backfill.parquet import parquet_pieces

        with parquet_pieces(path, mapping, begin) as found:
            yield found


def format_of(head: bytes, mapping: Mapping | None, path: Path) -> Format:
    """The format of a file, told by its first (inflated) bytes and by whether there is a mapping."""
    if head.startswith(_PARQUET):
        if path == STDIN:
            raise ConfigError("Parquet cannot be read from standard input; name the file", file=str(path))
        return "parquet"
    lines = [line for line in (line.lstrip(b"\xef\xbb\xbf \t\r") for line in head.split(b"\n")) if line]
    first, objects = next(iter(lines), b"{"), any(line.startswith(b"{") for line in lines)
    if first.startswith(b"{") or (mapping is None and objects and not _is_open(first)):
        return "ndjson"
    if first.startswith(b"["):
        raise ConfigError("is a JSON array; write one event a line, for example with: jq -c '.[]'", file=str(path))
    if mapping is not None:
        return "csv"
    raise ConfigError(
        "holds no lines of JSON; for a CSV say with --mapping FILE how its rows become events", file=str(path)
    )


def _is_open(line: bytes) -> bool:
    """Whether an array begins here that goes on in the next line."""
    return line.startswith(b"[") and not line.rstrip().endswith(b"]")


def _line_pieces(stream: BinaryIO, path: Path, begin: Place) -> Iterator[Piece]:
    rest = b""
    for block in _read(partial(stream.read, BLOCK), path):
        data = rest + block
        cut = data.rfind(b"\n") + 1
        data, rest = data[:cut], data[cut:]
        if data:
            end = Place(begin.offset + cut, begin.line + data.count(b"\n"))
            yield Piece("ndjson", str(path), begin, end, (), data)
            begin = end
        if len(rest) > MAX_LINE:
            head, length = rest[: MAX_LINE + 1], len(rest)
            for more in _read(partial(stream.readline, BLOCK), path):
                length += len(more)
                if more.endswith(b"\n"):
                    break
            end = Place(begin.offset + length, begin.line + 1)
            yield Piece("ndjson", str(path), begin, end, (), head)
            begin, rest = end, b""
    if rest:
        yield Piece("ndjson", str(path), begin, Place(begin.offset + len(rest), begin.line + 1), (), rest)


class CsvRows:
    """The rows of a CSV. A line over `MAX_LINE` bytes is read as several. `size`: bytes read since `take`."""

    def __init__(self, stream: BinaryIO, delimiter: str, path: Path) -> None:
        self.size = 0
        self._taken: list[bytes] = []
        self._rows = csv.reader(self._lines(stream, path), delimiter=delimiter)

    @property
    def lines(self) -> int:
        """Lines read so far."""
        return self._rows.line_num

    def next(self) -> list[str] | None:
        """The next row, or None for one that cannot be read as CSV. Raises StopIteration after the last."""
        try:
            return next(self._rows)
        except csv.Error:
            return None

    def take(self) -> bytes:
        """The bytes of the rows since the last call."""
        data = b"".join(self._taken)
        self._taken.clear()
        self.size = 0
        return data

    def _lines(self, stream: BinaryIO, path: Path) -> Iterator[str]:
        for line in _read(partial(stream.readline, MAX_LINE), path):
            self._taken.append(line)
            self.size += len(line)
            yield line.decode("utf-8", "surrogateescape")


def _header(stream: BinaryIO, mapping: Mapping, path: Path) -> tuple[tuple[str, ...], Place]:
    """The names of the columns, and where the first row begins. Raises `ConfigError` for a column that is missing."""
    if mapping.columns is not None:
        columns, place = mapping.columns, Place()
    else:
        rows = CsvRows(stream, mapping.delimiter, path)
        try:
            columns = rows.next() or []
        except StopIteration:
            columns = []
        columns = [name.removeprefix("\ufeff") for name in columns]
        place = Place(len(rows.take()), rows.lines)
    for name in sorted(mapping.needed()):
        if name not in columns:
            raise ConfigError(f"has no column {name!r}; it has: {', '.join(columns)}", file=str(path))
    return tuple(columns), place


def _csv_pieces(
    stream: BinaryIO, mapping: Mapping, path: Path, begin: Place, columns: tuple[str, ...]
) -> Iterator[Piece]:
    rows, ended = CsvRows(stream, mapping.delimiter, path), False
    while not ended:
        count, lines = 0, rows.lines
        try:
            while rows.size < _CSV_BYTES:
                rows.next()
                count += 1
        except StopIteration:
            ended = True
        data = rows.take()
        if data:
            end = Place(begin.offset + len(data), begin.line + rows.lines - lines, begin.row + count)
            yield Piece("csv", str(path), begin, end, columns, data)
            begin = end


def _read(read: partial[bytes], path: Path) -> Iterator[bytes]:
    """What `read` gives until it gives nothing. Raises `ConfigError` for damaged data, after what was good."""
    try:
        while data := read():
            yield data
    except BROKEN as error:
        raise damaged(error, path) from error
