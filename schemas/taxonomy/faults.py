"""Why an event is refused: pydantic's errors and the content of undeclared values, as one `Reason` with a field.

Messages never quote a value: they end up in logs, answers and dead letters, and values can be personal.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from pydantic_core import ErrorDetails

from schemas.reasons import Reason
from schemas.taxonomy.pack import CURRENCY, MAX_FLOAT, MAX_ID, MAX_INT, MAX_STRING, SCORE, Event, Pack, Property
from schemas.taxonomy.yamlfile import hint

MAX_DEPTH: Final = 32
IDS: Final = ("event_id", "user_id", "session_id")

_EXPECTED: Final = {
    "string": "text",
    "uuid": "text that holds a UUID",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "timestamp": "a time",
    "object": "an object",
    "array": "an array",
}


TIME_WANTED: Final = (
    "must be an ISO-8601 time such as 2026-01-31T12:00:00Z, or a number of Unix seconds or milliseconds"
)
_SIMPLE: Final = {
    "timestamp": (Reason.INVALID_TIMESTAMP, TIME_WANTED),
    "string_unicode": (Reason.INVALID_TEXT, "holds text that is not valid Unicode (a lone surrogate)"),
    "invalid_key": (Reason.WRONG_TYPE, "has a key that is not text"),
    "too_long": (Reason.OUT_OF_RANGE, "has too many items"),
}


class Fault(NamedTuple):
    """What is wrong, where (dotted path) and what to do."""

    reason: Reason
    field: str
    message: str


def from_pydantic(detail: ErrorDetails, pack: Pack, event: Event) -> Fault:
    """The fault that pydantic found, told by the declaration of the property it stands at."""
    loc, kind, value = detail["loc"], detail["type"], detail["input"]
    field = dotted(loc)
    prop = _declared(loc, pack, event)
    if kind == "missing" or value is None:
        return Fault(Reason.MISSING_FIELD, field, "is missing or null; send a value")
    if loc == ("source",):
        return Fault(Reason.INVALID_SOURCE, field, f"must be one of {', '.join(pack.sources)}")
    if kind == "several_types" and (fault := content_fault(value, loc)):
        return fault
    if kind in _SIMPLE:
        return Fault(_SIMPLE[kind][0], field, _SIMPLE[kind][1])
    return _number_fault(kind, value, field, prop) or _text_fault(kind, value, field, loc, prop)


def _number_fault(kind: str, value: Any, field: str, prop: Property | None) -> Fault | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or kind not in _NUMBER_ERRORS:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return Fault(Reason.NOT_FINITE, field, "must be a finite number, not NaN or Infinity")
    if kind in {"int_type", "int_from_float"} and abs(value) <= MAX_INT:
        return Fault(Reason.WRONG_TYPE, field, "must be a whole number")
    if prop is not None and prop.unit == CURRENCY and prop.min == 0 and value < 0:
        return Fault(Reason.NEGATIVE_AMOUNT, field, "must be 0 or more; send money given back as its own event")
    if prop is not None and prop.unit == SCORE:
        return Fault(Reason.SCORE_OUT_OF_RANGE, field, _range(prop))
    return Fault(Reason.OUT_OF_RANGE, field, _range(prop))


_NUMBER_ERRORS: Final = {
    "int_type",
    "int_from_float",
    "float_type",
    "finite_number",
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
}


def _range(prop: Property | None) -> str:
    low, high = (prop.min, prop.max) if prop is not None else (None, None)
    if low is not None and high is not None:
        return f"must lie between {plain(low)} and {plain(high)}"
    if low is not None:
        return f"must be at least {plain(low)}, and small enough to store"
    return f"must be at most {plain(high)}" if high is not None else "is a number too large to store"


def plain(number: float) -> str:
    """A bound as people write it: 1000000000000, 0.95."""
    return str(int(number)) if number == int(number) else str(number)


def _text_fault(kind: str, value: Any, field: str, loc: tuple[int | str, ...], prop: Property | None) -> Fault:
    if kind == "literal_error" and isinstance(value, str) and prop is not None:
        allowed = ", ".join(prop.enum)
        return Fault(Reason.UNKNOWN_ENUM, field, f"must be one of {allowed}{hint(value[:64], prop.enum)}")
    if kind == "string_pattern_mismatch":
        if loc[-1] in IDS and len(loc) == 1:
            return Fault(Reason.EMPTY_ID, field, "must not be empty")
        return Fault(Reason.INVALID_UUID, field, "must be a UUID such as 3f2504e0-4f89-41d3-9a0c-0305e82c3301")
    if kind == "string_too_long":
        limit = prop.max_length if prop is not None else MAX_ID
        return Fault(Reason.OUT_OF_RANGE, field, f"is longer than {limit} characters")
    if prop is not None:
        wanted = " or ".join(_EXPECTED[name] for name in prop.types)
    else:
        wanted = "an object" if kind == "dict_type" else "text"
    return Fault(Reason.WRONG_TYPE, field, f"must be {wanted}, not {json_type(value)}")


def _declared(loc: tuple[int | str, ...], pack: Pack, event: Event) -> Property | None:
    """The declaration that `loc` points at, if it points at a declared property."""
    if len(loc) < 2:
        return None
    found = (event.properties if loc[0] == "properties" else pack.context).get(str(loc[1]))
    for part in loc[2:]:
        if found is None:
            return None
        found = found.items if isinstance(part, int) else found.properties.get(part)
    return found


def json_type(value: object) -> str:
    """What JSON calls the type of `value`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list | tuple) else "something that JSON does not have"


def dotted(loc: tuple[int | str, ...]) -> str:
    """A location as `properties.order_value`, safe to print and at most 200 characters long."""
    return clean_text(".".join(map(str, loc)), MAX_ID)


def clean_text(value: object, limit: int) -> str:
    """`value` if it is printable Unicode text of at most `limit` characters (else cut), or ""."""
    if not isinstance(value, str):
        return ""
    return value[:limit].encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def content_fault(value: object, loc: tuple[int | str, ...], depth: int = 0) -> Fault | None:
    """What cannot be stored in any JSON value, declared or not: depth, size, text, finiteness, type."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _bad_text(value, loc, MAX_STRING)
    if isinstance(value, int | float):
        return _bad_number(value, loc)
    if not isinstance(value, dict | list):
        return Fault(Reason.WRONG_TYPE, dotted(loc), f"is {json_type(value)}")
    if depth >= MAX_DEPTH:
        return Fault(Reason.TOO_DEEP, dotted(loc[:4]), f"is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        found = (content_fault(item, (*loc, index), depth + 1) for index, item in enumerate(value))
    else:
        found = (_entry_fault(key, item, loc, depth) for key, item in value.items())
    return next((fault for fault in found if fault), None)


def _entry_fault(key: object, value: object, loc: tuple[int | str, ...], depth: int) -> Fault | None:
    if not isinstance(key, str):
        return Fault(Reason.WRONG_TYPE, dotted(loc), "has a key that is not text")
    return _bad_text(key, loc, MAX_ID) or content_fault(value, (*loc, key), depth + 1)


def _bad_text(value: str, loc: tuple[int | str, ...], limit: int) -> Fault | None:
    if len(value) > limit:
        return Fault(Reason.OUT_OF_RANGE, dotted(loc), f"holds text longer than {limit} characters")
    if "\0" in value:
        return Fault(Reason.INVALID_TEXT, dotted(loc), "holds text with a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        return Fault(Reason.INVALID_TEXT, dotted(loc), "holds text that is not valid Unicode (a lone surrogate)")
    return None


def _bad_number(value: float, loc: tuple[int | str, ...]) -> Fault | None:
    if isinstance(value, float) and not math.isfinite(value):
        return Fault(Reason.NOT_FINITE, dotted(loc), "must be a finite number, not NaN or Infinity")
    limit = MAX_FLOAT if isinstance(value, float) else MAX_INT + 1
    if abs(value) >= limit:
        return Fault(Reason.OUT_OF_RANGE, dotted(loc), "is a number too large to store")
    return None
