"""Parquet files, by pyarrow (the extra `parquet`; the extra `embedded` brings it too). The only module that imports it.

The reading process takes record batches out of the row groups, of the columns that are needed; they travel as Arrow
streams and become rows of plain values where they are decoded: times as ISO 8601 in UTC, decimals as floats.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import orjson

from deploy.backfill.events import Ids, original, to_event
from deploy.backfill.mapping import Mapping, row_id
from deploy.backfill.pieces import Piece, Place
from deploy.backfill.source import Progress
from ingest.decode import Faulty
from schemas.errors import ConfigError
from schemas.reasons import Reason

ROWS: Final = 4_000
"""Rows of a piece."""


def _pyarrow(path: Path) -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow: pip install 'headrace[parquet]'", file=str(path)) from error
    return pyarrow, pyarrow.parquet


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    arrow, parquet = _pyarrow(path)
    try:
        file = parquet.ParquetFile(path, coerce_int96_timestamp_unit="ms")
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise ConfigError(f"is no readable Parquet file: {error}", file=str(path)) from error
    with file:
        yield file


@contextmanager
def parquet_pieces(path: Path, mapping: Mapping | None, begin: Place) -> Iterator[tuple[Iterator[Piece], Progress]]:
    """The pieces of a Parquet file after `begin.row` rows. Raises `ConfigError` naming the file."""
    with _opened(path) as file:
        names = file.schema_arrow.names
        columns = names if mapping is None else _columns(mapping, names, path)
        progress = Progress(file.metadata.num_rows)
        progress.done = begin.row
        yield _cut(file, path, columns, begin.row, progress), progress


@contextmanager
def parquet_table(path: Path) -> Iterator[tuple[list[str], Iterator[tuple[Any, ...]], Progress]]:
    """The columns of a Parquet file and its rows, as plain values. Raises `ConfigError` naming the file."""
    with _opened(path) as file:
        progress = Progress(file.metadata.num_rows)
        yield file.schema_arrow.names, _table(file, path, progress), progress


def _table(file: Any, path: Path, progress: Progress) -> Iterator[tuple[Any, ...]]:
    arrow, _ = _pyarrow(path)
    try:
        for batch in file.iter_batches(ROWS):
            progress.done += batch.num_rows
            yield from zip(*(_cells(arrow, column) for column in batch.columns), strict=True)
    except (arrow.ArrowException, OSError) as error:
        raise ConfigError(f"the Parquet data is damaged near row {progress.done}: {error}", file=str(path)) from error


def _columns(mapping: Mapping, names: list[str], path: Path) -> list[str]:
    """Those columns of the file that the mapping needs; all where ids are made of the whole row."""
    found = set()
    for name in sorted(mapping.needed()):
        column = name if name in names else name.split(".")[0]
        if column not in names:
            raise ConfigError(f"has no column {name!r}; it has: {', '.join(names)}", file=str(path))
        found.add(column)
    return [name for name in names if name in found or mapping.event_id is None]


def _cut(file: Any, path: Path, columns: list[str], skip: int, progress: Progress) -> Iterator[Piece]:
    arrow, _ = _pyarrow(path)
    row = 0
    try:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if row + rows <= skip:
                row += rows
                continue
            for batch in file.iter_batches(ROWS, row_groups=[group], columns=columns):
                begin, row = row, row + batch.num_rows
                if row > skip:
                    some = batch.slice(max(0, skip - begin))
                    progress.done = row
                    yield Piece(
                        "parquet", str(path), Place(row=max(begin, skip)), Place(row=row), (), _packed(arrow, some)
                    )
    except (arrow.ArrowException, OSError) as error:
        raise ConfigError(f"the Parquet data is damaged after row {row}: {error}", file=str(path)) from error


def _packed(arrow: Any, batch: Any) -> bytes:
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def parquet_rows(piece: Piece, mapping: Mapping | None, ids: Ids) -> Iterator[tuple[int, object]]:
    """(row number, event) of each row; without a mapping the columns are the fields of the event."""
    arrow, _ = _pyarrow(Path(piece.name))
    number = piece.begin.row
    for batch in arrow.ipc.open_stream(piece.data):
        names = batch.schema.names
        for cells in zip(*(_cells(arrow, column) for column in batch.columns), strict=True):
            number += 1
            row = dict(zip(names, cells, strict=True))
            yield number, _event(row, number, ids) if mapping is None else to_event(mapping, row, number)


def _cells(arrow: Any, column: Any) -> list[Any]:
    """The values of a column, as JSON has them."""
    types, kind = arrow.types, column.type
    if types.is_dictionary(kind):
        return _cells(arrow, column.dictionary_decode())
    if types.is_timestamp(kind):
        column, kind = column.cast(arrow.timestamp("ms", kind.tz), safe=False), None
    cells: list[Any] = column.to_pylist(maps_as_pydicts="lossy")
    if kind is not None and (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        return cells
    if kind is not None and (types.is_string(kind) or types.is_large_string(kind)):
        return cells
    return [_plain(cell) for cell in cells]


def _plain(cell: Any) -> Any:
    if isinstance(cell, dict):
        return {str(name): _plain(value) for name, value in cell.items() if value is not None}
    if isinstance(cell, list):
        return [_plain(value) for value in cell]
    return cell if cell is None or isinstance(cell, str | int | float) else _scalar(cell)


def _scalar(cell: Any) -> str | float:
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="milliseconds")
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape")
    return str(cell)


def _event(row: dict[str, Any], number: int, ids: Ids) -> object:
    """A row whose columns are the fields of an event; `properties` and `context` may be JSON text."""
    event = {name: value for name, value in row.items() if value is not None}
    if ids != "off" and "event_id" not in event:
        event["event_id"] = row_id(row, number if ids == "line" else 0)
    for name in ("properties", "context"):
        if isinstance(text := event.get(name), str):
            try:
                event[name] = orjson.loads(text or "{}")
            except orjson.JSONDecodeError as error:
                message = f"row {number}: the column is no JSON: {error}"
                return Faulty(Reason.UNREADABLE_BODY, name, message, original(row))
    return event
