"""What a dead letter holds: one event's bytes, a row that the warehouse refused, or a whole record of Kafka."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

from deploy.dead_letters.store import Letter, original_bytes
from schemas.reasons import Reason
from schemas.taxonomy.compile import ENVELOPE

NAMESPACE: Final = UUID("0f0d7a5c-51f5-5f55-9f6e-6d8f0c6b1a3e")
"""Of ids made for events that came without one. Never change it: a replay would store them twice."""
HISTORY_KEY: Final = "backfill"
"""The `key_id` of events that `headrace backfill` sent: they may be of any age."""

_WIRE: Final = frozenset({"tenant", "received_at", "event_id", "slot"})
_REJECTED: Final = frozenset({"tenant", "reason", "original", "encoding"})


class Source(NamedTuple):
    """One event of a letter, as bytes. `receipt`: Unix seconds. `name`: what an id is made from when it has none."""

    tenant: str
    key_id: str
    receipt: float
    data: bytes
    name: str
    history: bool = False
    pack: str = ""


def sources(letter: Letter, tenant: str = "") -> Iterator[Source]:
    """The events that a letter holds; `tenant`: whose those are that do not say it."""
    if letter.reason == Reason.REFUSED_BY_WAREHOUSE:
        yield _of_line(letter, letter.original, letter.id, tenant)
    elif letter.reason == Reason.UNREADABLE_CHUNK:
        lines = [line for line in letter.original.split(b"\n") if line.strip()]
        for number, line in enumerate(lines):
            yield _of_line(letter, line, f"{letter.id}/{number}", tenant)
    else:
        history = letter.key_id == HISTORY_KEY
        yield Source(letter.tenant, letter.key_id, letter.received_at, letter.original, letter.id, history)


def made_id(name: str) -> str:
    """The id of an event that came without one: the same, however often it is asked for."""
    return str(uuid5(NAMESPACE, name))


def lenient(data: bytes) -> Any:
    """The value of JSON that may hold what JSON has not (NaN, half a surrogate); raises ValueError."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _of_line(letter: Letter, line: bytes, name: str, tenant: str) -> Source:
    """A line of a chunk: a row of `events`, a row of `rejected_events`, or whatever else somebody produced."""
    plain = Source(letter.tenant or tenant, letter.key_id, letter.received_at, line, name)
    try:
        fields = lenient(line)
    except ValueError:
        return plain
    if not isinstance(fields, dict):
        return plain
    whose = _text(fields, "tenant") or plain.tenant
    if fields.keys() >= _REJECTED:
        data = original_bytes(_text(fields, "original"), _text(fields, "encoding"))
        key = _text(fields, "key_id")
        return Source(whose, key, _time(fields, letter), data, name, key == HISTORY_KEY)
    if fields.keys() >= _WIRE:
        event = {key: fields[key] for key in ENVELOPE if key in fields}
        data = json.dumps(event).encode()
        history, pack = fields.get("backfill") is True, _text(fields, "pack")
        return Source(whose, _text(fields, "key_id"), _time(fields, letter), data, name, history, pack)
    return plain


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _time(fields: dict[str, Any], letter: Letter) -> float:
    value = fields.get("received_at")
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e11:
        return round(float(value), 3)
    return letter.received_at
