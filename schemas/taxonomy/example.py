"""An example of every event type, made from its declaration alone: the same one every time."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from schemas.taxonomy.pack import CURRENCY, SCORE, Pack, Property

TIMESTAMP: Final = "2026-01-31T12:00:00.000Z"
_NAMESPACE: Final = uuid.UUID("6f0c2c2e-2d0c-5a53-9d0e-6f6f8a1f3f1b")


def example(pack: Pack, event_type: str, *, timestamp: str = TIMESTAMP) -> dict[str, Any]:
    """A valid event with every declared property filled. Raises KeyError for an unknown `event_type`."""
    event = pack.events[event_type]
    system = any(ref.event_type == event_type for ref in pack.roles.get("system", ()))
    return {
        "event_id": _uuid(pack.name, event_type),
        "event_type": event_type,
        "timestamp": timestamp,
        "user_id": "system" if system else "user-42",
        "session_id": "session-7",
        "source": event.sources[0],
        "properties": _values(event.properties, timestamp),
        "context": _values(pack.context, timestamp),
    }


def _uuid(*parts: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, "/".join(parts)))


def _values(properties: Mapping[str, Property], timestamp: str) -> dict[str, Any]:
    return {name: _value(prop, timestamp) for name, prop in properties.items()}


def _value(prop: Property, timestamp: str) -> Any:
    kind = prop.types[0]
    if kind == "object":
        return _values(prop.properties, timestamp)
    if kind == "array":
        return [_value(prop.items, timestamp)] if prop.items else []
    if kind in ("int", "float"):
        return _number(prop)
    plain: dict[str, Any] = {"uuid": _uuid(prop.name), "bool": False, "timestamp": timestamp, "string": _text(prop)}
    return plain[kind]


def _text(prop: Property) -> str:
    choices = prop.enum or prop.known
    return choices[0] if choices else f"some {prop.name.replace('_', ' ')}"[: prop.max_length]


def _number(prop: Property) -> float:
    """A likely value within the bounds: 19.99 of money, a score of 0.87, else 3."""
    likely = {CURRENCY: 19.99, SCORE: 0.87}.get(prop.unit, 3.0)
    low, high = prop.min, prop.max
    value = likely if low is None else max(likely, low)
    value = value if high is None else min(value, high)
    return int(value) if prop.types[0] == "int" else value
