"""A pack as JSON Schema (draft 2020-12): one document that validates any event of the pack.

It says what the collector accepts, except for what a schema cannot say: the clock, versions, and text that cannot be
stored. Keys that start with `x-` carry the rest of the declaration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.taxonomy.compile import MAX_ITEMS, UUID_PATTERN
from schemas.taxonomy.pack import MAX_ID, MAX_INT, Event, Pack, Property

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

_TYPES: Final = {"string": "string", "uuid": "string", "int": "integer", "float": "number", "bool": "boolean"}
_ID: Final[Schema] = {"type": ["string", "integer"], "minLength": 1, "maxLength": MAX_ID}
_TIME: Final[Schema] = {"type": ["string", "number"], "description": "ISO-8601, or Unix seconds or milliseconds."}


def json_schema(pack: Pack) -> Schema:
    """The schema of an event of `pack`."""
    return {
        "$schema": DIALECT,
        "$id": f"urn:headrace:taxonomy:{pack.name}:{pack.version}",
        "title": pack.title,
        "description": pack.description,
        "type": "object",
        "required": ["event_id", "event_type", "timestamp", "user_id", "source"],
        "properties": {
            "event_id": _ID,
            "event_type": {"enum": list(pack.events)},
            "timestamp": _TIME,
            "user_id": _ID,
            "session_id": {"type": ["string", "integer", "null"], "maxLength": MAX_ID},
            "source": {"enum": list(pack.sources)},
            "version": {"enum": [*sorted(pack.versions), None]},
            "properties": {"type": ["object", "null"]},
            "context": {"anyOf": [_object(pack.context), {"type": "null"}]},
        },
        "allOf": [_branch(event) for event in pack.events.values()],
        "$defs": {event.name: _event(event) for event in pack.events.values()},
    }


def _branch(event: Event) -> Schema:
    """What holds when the event is of this type."""
    then: Schema = {"properties": {"properties": {"$ref": f"#/$defs/{event.name}"}}}
    if any(prop.required for prop in event.properties.values()):
        then["required"] = ["properties"]
    else:
        then["properties"]["properties"] = {"anyOf": [then["properties"]["properties"], {"type": "null"}]}
    return {"if": {"properties": {"event_type": {"const": event.name}}, "required": ["event_type"]}, "then": then}


def _event(event: Event) -> Schema:
    return {
        "description": event.description,
        "x-group": event.group,
        "x-owner": event.owner,
        "x-sources": list(event.sources),
        "x-frequency": event.frequency,
        "x-volume-per-day": {"min": event.volume[0], "max": event.volume[1]},
        "x-freshness-seconds": {
            "target": event.freshness.target,
            "acceptable": event.freshness.acceptable,
            "grace": event.freshness.grace,
        },
        "x-quality-gates": list(event.gates),
        **_object(event.properties),
    }


def _object(properties: Mapping[str, Property]) -> Schema:
    schema: Schema = {"type": "object", "properties": {name: _property(prop) for name, prop in properties.items()}}
    required = [name for name, prop in properties.items() if prop.required]
    return {**schema, "required": required} if required else schema


def _property(prop: Property) -> Schema:
    branches = [_typed(kind, prop) for kind in prop.types]
    if prop.nullable:
        branches.append({"type": "null"})
    schema: Schema = branches[0] if len(branches) == 1 else {"anyOf": branches}
    schema["description"] = prop.description
    marks = {"x-personal": prop.personal, "x-unit": prop.unit, "x-column": prop.column, "examples": list(prop.known)}
    return {**schema, **{name: value for name, value in marks.items() if value}}


def _typed(kind: str, prop: Property) -> Schema:
    schema: Schema
    match kind:
        case "string" if prop.enum:
            schema = {"type": "string", "enum": list(prop.enum)}
        case "string":
            schema = {"type": "string", "maxLength": prop.max_length}
        case "uuid":
            schema = {"type": "string", "format": "uuid", "pattern": UUID_PATTERN}
        case "timestamp":
            schema = dict(_TIME)
        case "object":
            schema = _object(prop.properties)
        case "array":
            items = {"items": _property(prop.items)} if prop.items else {}
            schema = {"type": "array", "maxItems": MAX_ITEMS, **items}
        case _:
            schema = {"type": _TYPES[kind], **_bounds(kind, prop)}
    return schema


def _bounds(kind: str, prop: Property) -> Schema:
    if kind == "bool":
        return {}
    low, high = prop.min, prop.max
    if kind == "int":
        low, high = -MAX_INT if low is None else low, MAX_INT if high is None else high
    bounds = {"minimum": low, "maximum": high}
    return {name: int(v) if v == int(v) else v for name, v in bounds.items() if v is not None}
