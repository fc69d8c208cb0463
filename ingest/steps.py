"""The steps of one event, each a function `(event, origin) -> event`; a step that refuses returns a `Rejection`.

Nothing here knows HTTP or Kafka. The order stands in `ingest.path`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

import orjson

from ingest.decode import Faulty, peek, printable
from schemas.reasons import Reason
from schemas.taxonomy import Rejection
from schemas.wire import slot_of

_CONTAINERS: Final[frozenset[type]] = frozenset({dict, list})


class Validator(Protocol):
    """The taxonomy's verdict on one event; the line lacks what the gateway adds."""

    def validate(self, event: object, *, received_at: float, backfill: bool = False) -> dict[str, Any] | Rejection: ...


class Origin(NamedTuple):
    """Where the events of one request come from, and what holds for all of them. Times: Unix seconds.

    `judged_at`: the receipt that an event's age is judged by, where that is another than `received_at`.
    """

    tenant: str
    pack: str
    key_id: str
    received_at: float
    backfill: bool
    validator: Validator
    partitions: int
    max_depth: int
    max_bytes: int
    weigh: bool
    judged_at: float | None = None


class Line(NamedTuple):
    """An accepted event ready for its chunk: `open_json` lacks the chunk id and the closing brace."""

    partition: int
    open_json: bytes


def refuse_unreadable(event: Any, origin: Origin) -> Any:
    """Stop at what the decoder could not read."""
    if event.__class__ is not Faulty:
        return event
    original = event.original
    return Rejection(event.reason, event.field, event.message, peek(original, "event_id"), peek(original, "event_type"))


def limit_depth(event: Any, origin: Origin) -> Any:
    """Refuse nesting past the limit (the event itself is level 1)."""
    if event.__class__ not in _CONTAINERS or (origin.max_depth > 1 and _is_shallow(event)):
        return event
    level: list[Any] = [event]
    for _ in range(origin.max_depth):
        level = [
            inner
            for item in level
            for inner in (item.values() if item.__class__ is dict else item)
            if inner.__class__ in _CONTAINERS
        ]
        if not level:
            return event
    message = f"the event is nested more than {origin.max_depth} levels deep"
    return _reject(Reason.TOO_DEEP, message, event)


def _is_shallow(event: Any) -> bool:
    """Whether nothing lies deeper than two levels: true for almost every event, and quick to find out."""
    if event.__class__ is not dict:
        return False
    for value in event.values():
        kind = value.__class__
        if kind is dict:
            for inner in value.values():
                kind = inner.__class__
                if kind is dict or kind is list:
                    return False
        elif kind is list:
            return False
    return True


def limit_size(event: Any, origin: Origin) -> Any:
    """Refuse an event larger than the limit as compact JSON. Skipped where the whole body is smaller."""
    if not origin.weigh:
        return event
    size = len(_dump(event))
    if size <= origin.max_bytes:
        return event
    return _reject(Reason.EVENT_TOO_LARGE, f"the event has {size} bytes, more than {origin.max_bytes}", event)


def validate(event: Any, origin: Origin) -> Any:
    """The taxonomy's verdict; from here on the event is a line of the `events` table."""
    received_at = origin.received_at if origin.judged_at is None else origin.judged_at
    return origin.validator.validate(event, received_at=received_at, backfill=origin.backfill)


def address(line: Any, origin: Origin) -> Any:
    """Say whose it is, which key sent it, and the slot of its user. The tenant is the key's, never the event's."""
    tenant = origin.tenant
    line["tenant"] = tenant
    line["received_at"] = origin.received_at
    line["key_id"] = origin.key_id
    line["pack"] = origin.pack
    line["slot"] = slot_of(tenant, line["user_id"])
    return line


def encode(line: Any, origin: Origin) -> Any:
    """The line as JSON bytes, open at the end for the chunk id."""
    try:
        return Line(line["slot"] % origin.partitions, orjson.dumps(line)[:-1])
    except (TypeError, ValueError) as error:
        return _reject(Reason.INVALID_TEXT, f"the event cannot be written as JSON: {error}", line)


def original_of(event: object, limit: int) -> bytes:
    """The bytes of a rejected event, cut at `limit`: as they came, or as compact JSON where they were parsed."""
    return (event.original if isinstance(event, Faulty) else _dump(event))[:limit]


def _dump(event: object) -> bytes:
    try:
        return orjson.dumps(event)
    except (TypeError, ValueError):
        return repr(event).encode("utf-8", "backslashreplace")


def _reject(reason: Reason, message: str, event: object) -> Rejection:
    known: Mapping[str, object] = event if isinstance(event, dict) else {}
    return Rejection(reason, "", message, _text(known, "event_id"), _text(known, "event_type"))


def _text(event: Mapping[str, object], name: str) -> str:
    value = event.get(name)
    return printable(value) if isinstance(value, str) else ""
