"""How rows (of a CSV, Parquet, or JSON of another shape) become events: a YAML file, checked before the first row.

    event_type: user_purchased
    timestamp: {column: date, format: "%Y%m%d"}
    user_id: {column: customer, prefix: "customer-"}
    source: backend
    properties:
      order_id: {uuid: [customer, date], row: true}
      order_value: {column: dollars, type: float}
      order_category: music

A plain value is a constant. `column` takes a cell (an empty one leaves the field out, or gives `default`); a dotted
name goes down into nested columns. `type` converts it (without: text in a CSV, else as it is), `values` translates it
(what is not among them gives `default`, or is an error), `format` reads a time (UTC where it names no zone), `uuid`
makes a stable UUID of the columns named and, with `row: true`, of the row number. Without `event_id` the id is made of
the whole row and its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Row
from datetime import UTC, datetime
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid5

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.taxonomy.yamlfile import conform, read

NAMESPACE: Final = UUID("b1c2a9d4-4a0b-5f0d-8a6e-6f6f1d1f2e33")
"""Of derived ids. Never change it: a file that was sent before would be stored again."""
Cell = str | int | float | bool
_TRUE, _FALSE = {"true", "t", "yes", "y", "1"}, {"false", "f", "no", "n", "0"}
_ISO: Final = {"%Y-%m-%d", "%Y%m%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"}
"""Formats that `fromisoformat` reads, twenty times as fast."""
_TIMES_KEPT: Final = 4096


class RowError(ValueError):
    """A cell that cannot be converted; `field` is the event's field."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class FromRow(BaseModel):
    """A field taken from the row: `column`, or `uuid` of columns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str | None = None
    uuid: list[str] | None = None
    row: bool = False
    type: Literal["text", "int", "float", "bool"] | None = None
    format: str | None = None
    prefix: str = ""
    values: dict[str, Cell] | None = None
    default: Cell | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> FromRow:
        if (self.column is None) == (self.uuid is None):
            raise ValueError("needs either column or uuid")
        if self.row and self.uuid is None:
            raise ValueError("row fits only uuid")
        return self

    def needed(self) -> set[str]:
        return {self.column} if self.column is not None else set(self.uuid or ())

    def converter(self) -> Callable[[Any], Any] | None:
        """What makes the value of a cell that is not empty, None where it stays as it is. It raises ValueError."""
        if self.values is not None:
            return self._translated
        if self.format is not None:
            return partial(_time_of, self.format)
        if self.prefix or self.type == "text":
            return partial(_prefixed, self.prefix)
        return _CONVERTERS[self.type] if self.type else None

    def uuid_of(self, row: Row[str, Any], number: int, field: str) -> str:
        """The UUID of the columns that `uuid` names."""
        parts = [as_text(find(row, name)) for name in self.uuid or ()] + ([str(number)] if self.row else [])
        return _uuid((field, *parts))

    def complaint(self, cell: Any) -> str:
        """What is wrong with a cell that cannot be converted."""
        text = repr(as_text(cell)[:60])
        if self.values is not None:
            return f"{text} is not among the values of the mapping"
        return f"{text} in column {self.column!r} is not {f'a time like {self.format}' if self.format else self.type}"

    def _translated(self, cell: Any) -> Cell:
        found = (self.values or {}).get(as_text(cell), self.default)
        if found is None:
            raise ValueError
        return found


Spec = FromRow | Cell
_Plan = tuple[tuple[str, str | None, Callable[[Any], Any] | None, FromRow], ...]
"""Fields to be taken from the row: name, column, what converts the cell, and the whole rule."""


class Mapping(BaseModel):
    """A mapping file. `columns` names the columns of a CSV without a header."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_type: Spec
    timestamp: FromRow
    user_id: Spec
    source: Spec
    event_id: FromRow | None = None
    session_id: Spec | None = None
    properties: dict[str, Spec] = {}
    context: dict[str, Spec] = {}
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    columns: list[str] | None = None

    def needed(self) -> set[str]:
        """Columns that the file must have."""
        top = [self.event_type, self.timestamp, self.user_id, self.source, self.event_id, self.session_id]
        specs = [*top, *self.properties.values(), *self.context.values()]
        return {name for spec in specs if isinstance(spec, FromRow) for name in spec.needed()}

    def event(self, row: Row[str, Any], number: int) -> dict[str, Any]:
        """The event of one row (`number` counts from 1). Raises RowError for a cell that cannot be converted."""
        top, properties, context = self._plans
        event: dict[str, Any] = {} if self.event_id is not None else {"event_id": row_id(row, number)}
        event.update(top[0])
        _take(event, top[1], row, number, "")
        event["properties"] = _take(dict(properties[0]), properties[1], row, number, "properties.")
        event["context"] = _take(dict(context[0]), context[1], row, number, "context.")
        return event

    @cached_property
    def _plans(self) -> tuple[tuple[dict[str, Cell], _Plan], ...]:
        """Constants and columns of the envelope, the properties and the context."""
        names = ("event_id", "event_type", "timestamp", "user_id", "source", "session_id")
        top = {name: getattr(self, name) for name in names}
        return tuple(
            (
                {name: spec for name, spec in specs.items() if spec is not None and not isinstance(spec, FromRow)},
                tuple(
                    (name, spec.column, spec.converter(), spec)
                    for name, spec in specs.items()
                    if isinstance(spec, FromRow)
                ),
            )
            for specs in (top, self.properties, self.context)
        )


def _take(into: dict[str, Any], plan: _Plan, row: Row[str, Any], number: int, place: str) -> dict[str, Any]:
    for name, column, convert, spec in plan:
        if column is None:
            into[name] = spec.uuid_of(row, number, place + name)
            continue
        cell = row[column] if column in row else find(row, column)
        if cell.__class__ is str:
            cell = cell.strip()
        if cell is None or cell == "":
            if spec.default is not None:
                into[name] = spec.default
            continue
        if convert is not None:
            try:
                cell = convert(cell)
            except (ValueError, TypeError) as error:
                raise RowError(place + name, spec.complaint(cell)) from error
        into[name] = cell
    return into


def find(row: Row[str, Any], name: str) -> Any:
    """The cell of a column; a dotted name that is no column goes down into nested ones. None where there is none."""
    if name in row or "." not in name:
        return row.get(name)
    cell: Any = row
    for part in name.split("."):
        if not isinstance(cell, dict):
            return None
        cell = cell.get(part)
    return cell


def row_id(row: Row[str, Any], number: int) -> str:
    """The id of a row that has none: made of all its cells and its number."""
    return _uuid((str(number), *map(as_text, row.values())))


def as_text(cell: Any) -> str:
    """A cell as text: numbers and nested values as JSON writes them, "" for none."""
    if cell.__class__ is str:
        return str(cell)
    return "" if cell is None else orjson.dumps(cell).decode()


def _uuid(parts: Iterable[str]) -> str:
    return str(uuid5(NAMESPACE, "\x1f".join(parts).encode("utf-8", "surrogateescape").hex()))


def _whole(cell: Any) -> int:
    if isinstance(cell, float) and not cell.is_integer():
        raise ValueError(cell)
    return int(cell)


def _prefixed(prefix: str, cell: Any) -> str:
    return prefix + as_text(cell)


def _time_of(form: str, cell: Any) -> str:
    return _time(as_text(cell), form)


def _truth(cell: Any) -> bool:
    word = as_text(cell).lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(word)
    return word in _TRUE


_CONVERTERS: Final[Row[str, Callable[[Any], Any]]] = {"int": _whole, "float": float, "bool": _truth}


@lru_cache(_TIMES_KEPT)
def _time(text: str, form: str) -> str:
    moment = datetime.fromisoformat(text) if form in _ISO else datetime.strptime(text, form)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def load_mapping(path: Path) -> Mapping:
    """The mapping in `path`; raises `ConfigError` naming file, line and key."""
    return conform(Mapping, read(path))
