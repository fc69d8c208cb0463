"""Reads the numbers of another tool: CSV with a header, or a JSON array of objects. Every fault names line and column.

Columns: `date` (a UTC day), `metric`, `value`, and any dimensions; an empty dimension means all of it together.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import orjson

from api.problems import Problem
from schemas.metrics import Dimension

MOST_ROWS: Final = 10_000
MOST_BYTES: Final = 1 << 20
_NEEDED: Final = ("date", "metric", "value")
_COLUMNS: Final = (*_NEEDED, *(dimension.value for dimension in Dimension))
_FIRST, _LAST = date(1970, 1, 1), date(2099, 12, 30)
_SHOWN: Final = 20
_MOST_TEXT: Final = 200
_LARGEST: Final = Decimal(10) ** 24
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER: Final = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Claim:
    """One row: what another tool says. `line`: in the file; of JSON the number of the object, from 1."""

    line: int
    day_ms: int
    metric: str
    dimensions: tuple[tuple[Dimension, str], ...]
    theirs: Fraction

    @property
    def key(self) -> tuple[Any, ...]:
        """What the row is about."""
        return self.day_ms, self.metric, self.dimensions


class _Fault(Exception):
    def __init__(self, line: int, column: str, message: str) -> None:
        super().__init__(message)
        self.entry = {"field": f"line {line}, {column}", "line": line, "column": column, "message": message}


def read_claims(body: bytes, content_type: str) -> list[Claim]:
    """The rows of a body. Raises a problem: 415 for another type, 422 naming line and column of up to 20 faults."""
    kind = content_type.split(";", maxsplit=1)[0].strip().lower()
    readers = {"text/csv": _csv_rows, "application/json": _json_rows}
    if kind not in readers:
        raise Problem(415, "unsupported-media-type", f"send text/csv or application/json, not {kind or 'nothing'!r}")
    claims, faults, seen = [], [], dict[tuple[Any, ...], int]()
    try:
        for number, (line, cells) in enumerate(readers[kind](body), 1):
            if number > MOST_ROWS:
                raise _Fault(line, "date", f"is one row too many; send at most {MOST_ROWS} at once")
            try:
                claim = _claim(line, cells)
                if (first := seen.setdefault(claim.key, line)) != line:
                    raise _Fault(line, "date", f"line {first} has the same date, metric and dimensions")
                claims.append(claim)
            except _Fault as fault:
                faults.append(fault)
    except _Fault as fault:
        faults.append(fault)
    if not claims and not faults:
        faults.append(_Fault(1, "date", "the file holds no rows"))
    if faults:
        raise refused(faults)
    return claims


def refused(faults: Sequence[_Fault]) -> Problem:
    """The problem of a file's faults."""
    first = faults[0].entry
    more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
    detail = f"{first['field']}: {first['message']}{more}"
    return Problem(422, "unusable-file", detail, errors=[fault.entry for fault in faults[:_SHOWN]])


def fault(line: int, column: str, message: str) -> Problem:
    """The problem of one place in a file."""
    return refused([_Fault(line, column, message)])


def _csv_rows(body: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise _Fault(line, "date", "is not UTF-8") from None
    reader, header, line = csv.reader(io.StringIO(text, newline=""), strict=True), None, 1
    try:
        for cells in reader:
            if header is None and cells:
                header = [cell.strip() for cell in cells]
                _check_header(header, line)
            elif header is not None and any(cell.strip() for cell in cells):
                if len(cells) != len(header):
                    raise _Fault(line, header[min(len(cells), len(header)) - 1], _wrong_width(len(cells), len(header)))
                yield line, dict(zip(header, (cell.strip() for cell in cells), strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise _Fault(line, header[0] if header else "date", f"is not CSV: {error}") from None


def _wrong_width(found: int, expected: int) -> str:
    return f"the line has {found} cells and the header {expected}"


def _check_header(header: Sequence[str], line: int) -> None:
    for name in header:
        if name not in _COLUMNS:
            raise _Fault(line, name[:60], f"is no known column; known: {', '.join(_COLUMNS)}")
        if header.count(name) > 1:
            raise _Fault(line, name, "stands twice in the header")
    for name in _NEEDED:
        if name not in header:
            raise _Fault(line, name, "is missing in the header")


def _json_rows(body: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _Fault(error.lineno, "date", f"is not JSON: {error.msg}") from None
    if not isinstance(found, list):
        raise _Fault(1, "date", "must be an array of objects")
    for number, row in enumerate(found, 1):
        if not isinstance(row, dict):
            raise _Fault(number, "date", "must be an object")
        for name in row:
            if name not in _COLUMNS:
                raise _Fault(number, name[:60], f"is no known column; known: {', '.join(_COLUMNS)}")
        yield number, row


def _claim(line: int, cells: Mapping[str, Any]) -> Claim:
    dimensions = tuple(
        (dimension, text) for dimension in Dimension if (text := _text(line, cells, dimension.value, needed=False))
    )
    metric = _text(line, cells, "metric", needed=True)
    return Claim(line, _day(line, _text(line, cells, "date", needed=True)), metric, dimensions, _number(line, cells))


def _text(line: int, cells: Mapping[str, Any], column: str, *, needed: bool) -> str:
    value = cells.get(column)
    if value is None or value == "":
        if needed:
            raise _Fault(line, column, "is empty")
        return ""
    if not isinstance(value, str):
        raise _Fault(line, column, "must be text")
    if len(value) > _MOST_TEXT:
        raise _Fault(line, column, f"is longer than {_MOST_TEXT} characters")
    return value


def _day(line: int, text: str) -> int:
    try:
        day = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None or not _FIRST <= day <= _LAST:
        raise _Fault(line, "date", f"{text[:30]!r} is no day such as 2026-11-21, from 1970 to 2099")
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _number(line: int, cells: Mapping[str, Any]) -> Fraction:
    value = cells.get("value")
    if value is None or value == "":
        raise _Fault(line, "value", "is empty")
    if not isinstance(value, str | int | float) or isinstance(value, bool) or not _NUMBER.fullmatch(str(value)):
        raise _Fault(line, "value", f"{str(value)[:30]!r} is no number such as 1234.5")
    number = Decimal(str(value))
    if number and not Decimal("1e-24") <= abs(number) < _LARGEST:
        raise _Fault(line, "value", "is too large or too small to compare")
    return Fraction(number)
