"""From a pack file to a `Pack`: resolve names, fill defaults, and refuse what does not fit together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from schemas.taxonomy.pack import (
    CURRENCY,
    MAX_AMOUNT,
    MAX_STRING,
    SCORE,
    Event,
    EventRef,
    Freshness,
    Pack,
    Property,
    clickhouse_type,
)
from schemas.taxonomy.packfile import EventFile, PackFile, PropertyFile
from schemas.taxonomy.yamlfile import Document, Key, conform, hint, read

PACKS = Path(__file__).parent.parent / "packs"

_TEXT = {"string", "uuid"}
_NUMBER = {"int", "float"}
_COLUMN_TYPES = {
    "campaign_id": _TEXT,
    "creative_id": _TEXT,
    "order_id": _TEXT,
    "segment": _TEXT,
    "channel": _TEXT,
    "subtype": {"string"},
    "is_holdout": {"bool"},
    "amount": _NUMBER,
}
_CONTEXT_COLUMNS = ("segment", "channel")


def load_pack(path: str | Path) -> Pack:
    """The pack at `path`. Raises `ConfigError` with file, line and key for the first fault."""
    document = read(Path(path))
    return _Resolver(document, conform(PackFile, document)).pack()


def shipped_packs() -> dict[str, Pack]:
    """The packs that come with Headrace, by name."""
    return {pack.name: pack for pack in map(load_pack, sorted(PACKS.glob("*.yaml")))}


@dataclass
class _Resolver:
    document: Document
    file: PackFile

    def pack(self) -> Pack:
        file = self.file
        self._unique(("sources",), file.sources)
        for name, values in file.enums.items():
            self._unique(("enums", name), values)
        for name, fresh in file.freshness.items():
            if not fresh.target <= fresh.acceptable <= fresh.grace:
                raise self.document.fault(("freshness", name), "must have target <= acceptable <= grace")
        context = {name: self._property(name, spec, ("context", name)) for name, spec in file.context.items()}
        self._columns(context, ("context",), _CONTEXT_COLUMNS)
        events = {name: self._event(name, spec) for name, spec in file.events.items()}
        self._same_column_types(events)
        return Pack(
            name=file.pack,
            version=file.version,
            versions=frozenset({file.version, *file.versions}),
            title=file.title,
            description=file.description,
            sources=tuple(file.sources),
            context=MappingProxyType(context),
            events=MappingProxyType(events),
            roles=MappingProxyType(self._roles(events)),
            file=self.document.file,
        )

    def _event(self, name: str, spec: EventFile) -> Event:
        key: Key = ("events", name)
        for index, source in enumerate(spec.sources):
            self._known((*key, "sources", index), source, self.file.sources, "source")
        self._known((*key, "freshness"), spec.freshness, self.file.freshness, "freshness class")
        fresh = self.file.freshness[spec.freshness]
        if spec.volume.max is not None and spec.volume.max < spec.volume.min:
            raise self.document.fault((*key, "volume"), "must have min <= max")
        properties = {
            name: self._property(name, prop, (*key, "properties", name)) for name, prop in spec.properties.items()
        }
        self._columns(properties, (*key, "properties"), tuple(_COLUMN_TYPES))
        return Event(
            name=name,
            group=spec.group,
            description=spec.description,
            owner=spec.owner,
            sources=tuple(spec.sources),
            frequency=spec.frequency,
            volume=(spec.volume.min, spec.volume.max),
            freshness=Freshness(fresh.target, fresh.acceptable, fresh.grace),
            gates=tuple(spec.gates),
            properties=MappingProxyType(properties),
        )

    def _property(self, name: str, spec: PropertyFile, key: Key) -> Property:
        types = tuple(spec.type) if isinstance(spec.type, list) else (spec.type,)
        self._unique((*key, "type"), types)
        self._fits(spec, types, key)
        low, high = self._bounds(spec, types, key)
        nested = {n: self._property(n, p, (*key, "properties", n)) for n, p in (spec.properties or {}).items()}
        return Property(
            name=name,
            types=types,
            description=spec.description,
            required=spec.required,
            nullable=not spec.required if spec.nullable is None else spec.nullable,
            enum=self._values(spec.enum, (*key, "enum")),
            known=self._values(spec.known, (*key, "known")),
            min=low,
            max=high,
            max_length=spec.max_length or MAX_STRING,
            unit=spec.unit or "",
            personal=spec.personal,
            column=spec.column,
            properties=MappingProxyType(nested),
            items=self._property(name, spec.items, (*key, "items")) if spec.items else None,
        )

    def _fits(self, spec: PropertyFile, types: tuple[str, ...], key: Key) -> None:
        """Refuse keys that mean nothing for the type."""
        needs = {
            "enum": {"string"},
            "known": {"string"},
            "max_length": {"string"},
            "min": _NUMBER,
            "max": _NUMBER,
            "properties": {"object"},
            "items": {"array"},
        }
        for name, fitting in needs.items():
            if getattr(spec, name) is not None and not fitting & set(types):
                raise self.document.fault((*key, name), f"fits only type {' or '.join(sorted(fitting))}")
        if spec.enum is not None and (spec.known is not None or len(types) > 1):
            raise self.document.fault((*key, "enum"), "cannot stand beside known or several types")
        if spec.unit in (CURRENCY, SCORE) and not set(types) & _NUMBER:
            raise self.document.fault((*key, "unit"), f"{spec.unit!r} fits only type float or int")

    def _bounds(self, spec: PropertyFile, types: tuple[str, ...], key: Key) -> tuple[float | None, float | None]:
        """Amounts are 0 to 1e12 and scores 0 to 1 unless the file is narrower."""
        low, high = spec.min, spec.max
        if spec.unit in (CURRENCY, SCORE):
            low = 0 if low is None else low
            high = (MAX_AMOUNT if spec.unit == CURRENCY else 1) if high is None else high
            if spec.unit == SCORE and not 0 <= low <= high <= 1:
                raise self.document.fault(key, "a score lies within 0 and 1")
            if spec.unit == CURRENCY and not -MAX_AMOUNT <= low <= high <= MAX_AMOUNT:
                raise self.document.fault(key, f"an amount lies within -{MAX_AMOUNT:.0f} and {MAX_AMOUNT:.0f}")
        if low is not None and high is not None and low > high:
            raise self.document.fault((*key, "min"), f"{low} is above max {high}")
        return low, high

    def _values(self, given: str | list[str] | None, key: Key) -> tuple[str, ...]:
        if isinstance(given, str):
            self._known(key, given, self.file.enums, "list of enums")
            return tuple(self.file.enums[given])
        self._unique(key, given or [])
        return tuple(given or [])

    def _columns(self, properties: Mapping[str, Property], key: Key, allowed: tuple[str, ...]) -> None:
        taken: dict[str, str] = {}
        for name, prop in properties.items():
            at = (*key, name, "column")
            if prop.column is None:
                continue
            column = f"p_{name}" if prop.column is True else prop.column
            if column in taken:
                raise self.document.fault(at, f"{column!r} is already filled by {taken[column]!r}")
            taken[column] = name
            self._column_fits(prop, at, allowed)

    def _column_fits(self, prop: Property, at: Key, allowed: tuple[str, ...]) -> None:
        types = set(prop.types)
        if prop.column is True:
            if at[0] == "context" or len(types) > 1 or types & {"object", "array"}:
                raise self.document.fault(at, "needs an event's property of one plain type")
        elif prop.column not in allowed:
            raise self.document.fault(at, f"the context may fill only {' or '.join(allowed)}")
        elif prop.column and not types <= _COLUMN_TYPES[prop.column]:
            wanted = " or ".join(sorted(_COLUMN_TYPES[prop.column]))
            raise self.document.fault(at, f"{prop.column!r} needs type {wanted}")
        elif prop.column == "subtype" and not prop.enum:
            raise self.document.fault(at, "'subtype' needs an enum: its values are few")
        elif prop.column == "amount" and prop.unit != CURRENCY:
            raise self.document.fault(at, "'amount' needs unit: currency")

    def _same_column_types(self, events: Mapping[str, Event]) -> None:
        seen: dict[str, tuple[str, str]] = {}
        for event in events.values():
            for prop in event.properties.values():
                if prop.column is not True:
                    continue
                kind = clickhouse_type(prop)
                first, other = seen.setdefault(prop.name, (kind, event.name))
                if first != kind:
                    key = ("events", event.name, "properties", prop.name, "column")
                    raise self.document.fault(key, f"p_{prop.name} is {kind} here but {first} in {other!r}")

    def _roles(self, events: Mapping[str, Event]) -> dict[str, tuple[EventRef, ...]]:
        return {
            role: tuple(self._ref(text, ("roles", role, index), events) for index, text in enumerate(refs))
            for role, refs in self.file.roles.items()
        }

    def _ref(self, text: str, key: Key, events: Mapping[str, Event]) -> EventRef:
        event_type, colon, subtype = text.partition(":")
        self._known(key, event_type, events, "event")
        if not colon:
            return EventRef(event_type, None)
        prop = events[event_type].column("subtype")
        if prop is None:
            raise self.document.fault(key, f"{event_type!r} has no property with column: subtype")
        self._known(key, subtype, prop.enum, f"value of {prop.name}")
        return EventRef(event_type, subtype)

    def _known(self, key: Key, value: str, known: Iterable[str], what: str) -> None:
        names = list(known)
        if value not in names:
            guess = hint(value, names) or f"; known: {', '.join(names) or 'none'}"
            raise self.document.fault(key, f"{value!r} is not a known {what}{guess}")

    def _unique(self, key: Key, values: Iterable[str]) -> None:
        seen: set[str] = set()
        for index, value in enumerate(values):
            if value in seen:
                raise self.document.fault((*key, index), f"{value!r} is listed twice")
            seen.add(value)
