"""How the rows of a CSV file become events: a YAML file, checked before the first row is read.

    event_type: user_purchased
    timestamp: {column: date, format: "%Y%m%d"}
    user_id: {column: customer, prefix: "customer-"}
    source: backend
    properties:
      order_id: {uuid: [customer, date], row: true}
      order_value: {column: dollars, type: float}
      order_category: music

A plain value is a constant. `column` takes a cell (an empty one leaves the field out), `type` converts it, `values`
translates it, `format` reads a time (UTC where it names no zone), `uuid` makes a stable UUID of the columns named and,
with `row: true`, of the row number. Without `event_id` the id is made of the whole row and its number.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.taxonomy.yamlfile import conform, read

NAMESPACE: Final = UUID("b1c2a9d4-4a0b-5f0d-8a6e-6f6f1d1f2e33")
Cell = str | int | float | bool
_TRUE, _FALSE = {"true", "t", "yes", "y", "1"}, {"false", "f", "no", "n", "0"}


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
    type: Literal["text", "int", "float", "bool"] = "text"
    format: str | None = None
    prefix: str = ""
    values: dict[str, Cell] | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> FromRow:
        if (self.column is None) == (self.uuid is None):
            raise ValueError("needs either column or uuid")
        if self.row and self.uuid is None:
            raise ValueError("row fits only uuid")
        return self

    def needed(self) -> set[str]:
        return {self.column} if self.column is not None else set(self.uuid or ())

    def take(self, row: dict[str, str], number: int, field: str) -> Cell | None:
        """The value; None for an empty cell. Raises RowError."""
        if self.uuid is not None:
            parts = [row[name] for name in self.uuid] + ([str(number)] if self.row else [])
            return str(uuid5(NAMESPACE, "\x1f".join((field, *parts)).encode("utf-8", "replace").hex()))
        text = row[str(self.column)].strip()
        if not text:
            return None
        if self.values is not None:
            if text not in self.values:
                raise RowError(field, f"{text[:60]!r} is not among the values of the mapping")
            return self.values[text]
        try:
            return self._converted(text)
        except ValueError as error:
            wanted = f"a time like {self.format}" if self.format else self.type
            raise RowError(field, f"{text[:60]!r} in column {self.column!r} is not {wanted}") from error

    def _converted(self, text: str) -> Cell:
        if self.format is not None:
            moment = datetime.strptime(text, self.format)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return moment.astimezone(UTC).isoformat(timespec="milliseconds")
        if self.type == "bool":
            if text.lower() not in _TRUE | _FALSE:
                raise ValueError(text)
            return text.lower() in _TRUE
        if self.type == "text":
            return self.prefix + text
        return int(text) if self.type == "int" else float(text)


Spec = FromRow | Cell


class Mapping(BaseModel):
    """A mapping file. `columns` names the columns of a file without a header."""

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

    def event(self, row: dict[str, str], number: int) -> dict[str, Any]:
        """The event of one row (`number` counts from 1). Raises RowError for a cell that cannot be converted."""
        event: dict[str, Any] = {"event_id": self._id(row, number)}
        for name in ("event_type", "timestamp", "user_id", "source", "session_id"):
            _put(event, name, getattr(self, name), row, number)
        event["properties"] = _all(self.properties, row, number, "properties.")
        event["context"] = _all(self.context, row, number, "context.")
        return event

    def _id(self, row: dict[str, str], number: int) -> Cell | None:
        if self.event_id is not None:
            return self.event_id.take(row, number, "event_id")
        text = "\x1f".join((str(number), *row.values()))
        return str(uuid5(NAMESPACE, text.encode("utf-8", "surrogateescape").hex()))


def _all(specs: dict[str, Spec], row: dict[str, str], number: int, place: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, spec in specs.items():
        _put(found, name, spec, row, number, place)
    return found


def _put(into: dict[str, Any], name: str, spec: Spec | None, row: dict[str, str], number: int, place: str = "") -> None:
    value = spec.take(row, number, place + name) if isinstance(spec, FromRow) else spec
    if value is not None:
        into[name] = value


def load_mapping(path: Path) -> Mapping:
    """The mapping in `path`; raises `ConfigError` naming file, line and key."""
    return conform(Mapping, read(path))
