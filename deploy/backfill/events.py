"""From pieces of a file to events, mapped where there is a mapping. What cannot be read is a `Faulty`, no crash."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar
from uuid import UUID, uuid5

import orjson

from deploy.backfill.mapping import Mapping, RowError
from deploy.backfill.pieces import MAX_LINE, CsvRows, Piece
from ingest.decode import Faulty, decode_carefully
from ingest.refusals import Refusal
from schemas.reasons import Reason

T = TypeVar("T")
BATCH: Final = 1_000
NAMESPACE: Final = UUID("5d6f5b0e-0c52-5a37-9a4e-2b1f3f6d7a90")
"""Of derived event ids. Never change it: a file that was sent before would be stored again."""
Ids = Literal["line", "content", "off"]
"""What the id of an event without one is made of: its content and line, or its content alone; or it gets none."""

_BOM: Final = b"\xef\xbb\xbf"


class Batch(NamedTuple):
    """Events, and for each the line (in Parquet the row) where it begins."""

    name: str
    events: list[Any]
    lines: Sequence[int]

    def where(self, index: int) -> str:
        """File and line of an event."""
        return f"{self.name}:{self.lines[index]}"


def batches(events: Iterable[T], size: int) -> Iterator[list[T]]:
    """Events, `size` at a time."""
    left = iter(events)
    while batch := list(islice(left, size)):
        yield batch


def decoded(piece: Piece, mapping: Mapping | None, ids: Ids) -> Iterator[Batch]:
    """The events of a piece."""
    if piece.format == "csv" and mapping is not None:
        rows = _csv_rows(piece, mapping)
    elif piece.format == "parquet":
        from deploy.backfill.parquet import parquet_rows

        rows = parquet_rows(piece, mapping, ids)
    else:
        yield from _json_lines(piece, mapping, ids)
        return
    for some in batches(rows, BATCH):
        yield Batch(piece.name, [event for _, event in some], [line for line, _ in some])


def _json_lines(piece: Piece, mapping: Mapping | None, ids: Ids) -> Iterator[Batch]:
    lines = piece.data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for start in range(0, len(lines), BATCH):
        part = lines[start : start + BATCH]
        numbers: Sequence[int] = range(piece.begin.line + start + 1, piece.begin.line + start + 1 + len(part))
        try:
            events: list[Any] = [orjson.loads(line) for line in part]
        except orjson.JSONDecodeError:
            filled = [(number, line) for number, line in zip(numbers, part, strict=True) if not line.isspace() and line]
            numbers, part = [number for number, _ in filled], [line for _, line in filled]
            events = [_read(line.removeprefix(_BOM)) for line in part]
        if mapping is not None:
            events = [_mapped(mapping, event, number) for event, number in zip(events, numbers, strict=True)]
        elif ids != "off":
            _derive(events, part, numbers, ids)
        yield Batch(piece.name, events, numbers)


def _derive(events: list[Any], lines: list[bytes], numbers: Sequence[int], ids: Ids) -> None:
    for event, line, number in zip(events, lines, numbers, strict=True):
        if event.__class__ is dict and event.get("event_id") is None:
            content = line.removeprefix(_BOM).strip().hex()
            event["event_id"] = str(uuid5(NAMESPACE, content if ids == "content" else f"{content} {number}"))


def _read(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    if len(line) > MAX_LINE:
        return Faulty(Reason.EVENT_TOO_LARGE, "", f"the line is longer than {MAX_LINE} bytes", line[:1000])
    try:
        return decode_carefully(line, lines=True, limit=1)[0]
    except Refusal as refusal:
        return Faulty(Reason.UNREADABLE_BODY, "", refusal.message, line)


def _mapped(mapping: Mapping, row: Any, number: int) -> object:
    if row.__class__ is not dict:
        if row.__class__ is Faulty:
            return row
        return Faulty(Reason.NOT_AN_OBJECT, "", "the row is no JSON object", orjson.dumps(row))
    return to_event(mapping, row, number)


def to_event(mapping: Mapping, row: dict[str, Any], number: int) -> object:
    """The event of a row, or a `Faulty` with the row and what is wrong with it."""
    try:
        return mapping.event(row, number)
    except RowError as error:
        return Faulty(Reason.WRONG_TYPE, error.field, f"row {number}: {error}", original(row))


def original(row: dict[str, Any]) -> bytes:
    """A row as the rejected events keep it."""
    try:
        return orjson.dumps(row)
    except TypeError:
        return json.dumps(row, default=str).encode()


def _csv_rows(piece: Piece, mapping: Mapping) -> Iterator[tuple[int, object]]:
    """(line, event) of each row."""
    rows = CsvRows(io.BytesIO(piece.data), mapping.delimiter, Path(piece.name))
    names, number, line = piece.columns, piece.begin.row, piece.begin.line + 1
    while True:
        try:
            cells = rows.next()
        except StopIteration:
            return
        number += 1
        if cells is None:
            message = f"row {number} is no CSV: a quote is never closed, or a cell is too long"
            yield line, Faulty(Reason.UNREADABLE_BODY, "", message, b"")
        elif cells:
            row = dict(zip(names, cells, strict=False))
            if len(cells) == len(names):
                yield line, to_event(mapping, row, number)
            else:
                message = f"row {number} has {len(cells)} cells, the header {len(names)}"
                yield line, Faulty(Reason.UNREADABLE_BODY, "", message, original(row))
        line = piece.begin.line + rows.lines + 1
