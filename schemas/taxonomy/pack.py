"""A loaded pack: frozen, every name resolved, every default filled in. Depends on nothing but the standard library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

MAX_ID: Final = 200
MAX_STRING: Final = 8192
MAX_AMOUNT: Final = 1e12
MAX_INT: Final = 2**63 - 1
MAX_FLOAT: Final = 2.0**70
CURRENCY: Final = "currency"
SCORE: Final = "score"


class EventRef(NamedTuple):
    """An event type, or only those of its events with one sub-type."""

    event_type: str
    subtype: str | None


@dataclass(frozen=True)
class Property:
    """A declared property. `enum` is closed; `known` lists usual values of an open text. Bounds are inclusive.

    `column`: a standard column of `events`, or True for a column of its own named `p_<name>`.
    """

    name: str
    types: tuple[str, ...]
    description: str
    required: bool = False
    nullable: bool = True
    enum: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    max_length: int = MAX_STRING
    unit: str = ""
    personal: bool = False
    column: str | Literal[True] | None = None
    properties: Mapping[str, Property] = field(default_factory=dict)
    items: Property | None = None


@dataclass(frozen=True)
class Freshness:
    """Seconds between an event's time and its arrival: for 95 %, for 99 %, for all."""

    target: float
    acceptable: float
    grace: float


@dataclass(frozen=True)
class Event:
    """A declared event type. `volume`: expected events a day, from and to (None: open-ended)."""

    name: str
    group: str
    description: str
    owner: str
    sources: tuple[str, ...]
    frequency: str
    volume: tuple[int, int | None]
    freshness: Freshness
    gates: tuple[str, ...]
    properties: Mapping[str, Property]

    def column(self, name: str) -> Property | None:
        """The property that fills the standard column `name`, if one does."""
        return next((p for p in self.properties.values() if p.column == name), None)


@dataclass(frozen=True)
class Pack:
    """A taxonomy pack. `versions`: every version that an event may name, `version` among them."""

    name: str
    version: str
    versions: frozenset[str]
    title: str
    description: str
    sources: tuple[str, ...]
    context: Mapping[str, Property]
    events: Mapping[str, Event]
    roles: Mapping[str, tuple[EventRef, ...]]
    file: str


_CLICKHOUSE = {
    "int": "Nullable(Int64)",
    "float": "Nullable(Float64)",
    "bool": "Nullable(Bool)",
    "timestamp": "Nullable(DateTime64(3, 'UTC'))",
    "string": "String",
    "uuid": "String",
}


def clickhouse_type(prop: Property) -> str:
    """The type of `p_<name>` for a property with `column: true`; enums are dictionary-encoded."""
    return "LowCardinality(String)" if prop.enum else _CLICKHOUSE[prop.types[0]]


def extra_columns(pack: Pack) -> list[tuple[str, str]]:
    """The columns that `pack` adds to `events`: (name, ClickHouse type), sorted by name."""
    columns = {
        f"p_{prop.name}": clickhouse_type(prop)
        for event in pack.events.values()
        for prop in event.properties.values()
        if prop.column is True
    }
    return sorted(columns.items())


def column_values(pack: Pack, column: str) -> tuple[str, ...]:
    """The values of a standard column that the pack names, sorted; an open text may hold others."""
    properties = (pack.context, *(event.properties for event in pack.events.values()))
    filled = (prop for one in properties for prop in one.values() if prop.column == column)
    return tuple(sorted({value for prop in filled for value in (*prop.enum, *prop.known)}))
