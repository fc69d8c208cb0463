"""Bodies to events: one object, an array, `{"events": [...]}`, or newline-delimited JSON.

Almost every body is read by one call of orjson. What it refuses as a whole (`NaN`, lone surrogates, broken UTF-8,
nesting over 1,024) is cut into its events, and each is read alone: the bad ones come out as `Faulty`, with their own
bytes and a reason, and cost no other event. Of duplicate keys the last holds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

from ingest import scan
from ingest.refusals import Refusal, too_large, unreadable
from schemas.reasons import Reason

_LINES_TYPES: Final = frozenset(
    {
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/jsonlines",
    }
)
_JSON_TYPES: Final = frozenset({"", "application/json", "text/json", "text/plain", "application/x-www-form-urlencoded"})
_BOM: Final = b"\xef\xbb\xbf"
_READABLE_BYTES: Final = 1024 * 1024
"""A part larger than this that orjson refuses is not looked into: it is past every limit on events anyway."""
_WIDE_INTEGER: Final = re.compile(rb"[0-9]{19}")
_Trail = tuple[Any, Any] | None
"""How to reach a value: the trail of its container, and its key there."""


class Faulty(NamedTuple):
    """An event that could not be read: why, and its bytes as they came."""

    reason: Reason
    field: str
    message: str
    original: bytes


def is_lines(content_type: str) -> bool:
    """Whether a Content-Type says newline-delimited JSON; raises a 415 Refusal when it is no JSON at all.

    Plain text and forms count as JSON: beacons send the first, `curl -d` and some SDKs the second.
    """
    media, *parameters = (part.strip().lower() for part in content_type.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise Refusal(415, "unsupported_charset", f"The charset {value[:40]!r} is not UTF-8.")
    if media in _LINES_TYPES:
        return True
    if media in _JSON_TYPES or media.endswith("+json"):
        return False
    raise Refusal(
        415,
        "unsupported_type",
        f"Content-Type {media[:80]!r} is not JSON; use application/json or application/x-ndjson.",
    )


def decode_fast(body: bytes, *, lines: bool, limit: int) -> list[object] | None:
    """The events of a body that is valid as a whole, or None. Raises a Refusal: 400 when empty, 413 past `limit`."""
    if not body or body.isspace():
        raise Refusal(400, "empty_body", "The body is empty; send a JSON event, an array of events, or NDJSON.")
    if lines:
        return None
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return _limited(_unwrap(value), limit)


def decode_carefully(body: bytes, *, lines: bool, limit: int) -> list[object]:
    """The events of any body, each read alone. Raises a Refusal: 400 when nothing is readable, 413 past `limit`."""
    body = body.removeprefix(_BOM)
    events = [read_event(part) for part in _parts(body, lines, limit)]
    first = next(iter(events), None)
    if isinstance(first, Faulty) and all(isinstance(e, Faulty) and e.reason is Reason.UNREADABLE_BODY for e in events):
        raise unreadable(f"The body is not readable: {first.message}.")
    return events


def _unwrap(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and "events" in value and "event_type" not in value:
        events = value["events"]
        if not isinstance(events, list):
            raise unreadable('"events" is not an array of events.')
        return events
    return [value]


def _limited(events: list[object], limit: int) -> list[object]:
    if len(events) > limit:
        raise _too_many(limit)
    return events


def _too_many(limit: int) -> Refusal:
    return too_large(f"The batch holds more than {limit} events; send smaller batches.")


def _parts(body: bytes, lines: bool, limit: int) -> list[bytes]:
    """The bytes of each event of a body."""
    start = scan.skip_space(body)
    if lines:
        return _lines(body, limit)
    if start == len(body) or body[start] not in b"[{":
        raise unreadable("The body is not JSON: it starts neither with { nor with [.")
    items = scan.split_items(body, start, limit)
    if items is None:
        raise unreadable("The body is not JSON: a bracket or a quote is never closed; it may have been cut off.")
    if body[start : start + 1] == b"{":
        return _object_parts(body, start, items, limit)
    if len(items.parts) > limit:
        raise _too_many(limit)
    if scan.skip_space(body, items.end) != len(body):
        raise unreadable(f"The body goes on after the end of the array, at byte {items.end}.")
    return items.parts


def _object_parts(body: bytes, start: int, items: scan.Items, limit: int) -> list[bytes]:
    """The events of a body that begins with an object: an envelope, one event, or the first of many lines."""
    if len(items.parts) > limit:
        raise too_large(f"One object has more than {limit} members.")
    rest = scan.skip_space(body, items.end)
    if rest != len(body):
        if b"\n" not in body[items.end : rest]:
            raise unreadable(f"The body goes on after the end of the object, at byte {items.end}.")
        return _lines(body, limit)
    events = scan.named_item(items.parts, b"events")
    if events is None or scan.named_item(items.parts, b"event_type") is not None:
        return [body[start : items.end]]
    inner = scan.split_items(events, 0, limit) if events[:1] == b"[" else None
    if inner is None:
        raise unreadable('"events" is not an array of events.')
    if len(inner.parts) > limit:
        raise _too_many(limit)
    return inner.parts


def _lines(body: bytes, limit: int) -> list[bytes]:
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    if len(lines) > limit:
        raise _too_many(limit)
    return lines


def read_event(part: bytes) -> object:
    """The value of one event's bytes, or a `Faulty` that says why there is none."""
    try:
        return orjson.loads(part)
    except orjson.JSONDecodeError:
        return _read_faulty(part)


def _read_faulty(part: bytes) -> object:
    """What is wrong with bytes that orjson refuses; the value itself should the fault not be found."""
    part = part.strip()
    if len(part) > _READABLE_BYTES:
        return Faulty(Reason.EVENT_TOO_LARGE, "", f"the event has {len(part)} bytes and is not valid JSON", part)
    wide = _WIDE_INTEGER.search(part) is not None
    try:
        value = json.loads(part.decode(), parse_int=_integer if wide else None)
    except UnicodeDecodeError as error:
        message = f"byte 0x{part[error.start]:02x} at position {error.start} is not UTF-8"
        return Faulty(Reason.INVALID_TEXT, "", message, part)
    except RecursionError:
        return Faulty(Reason.TOO_DEEP, "", "the event is nested too deep to be read", part)
    except json.JSONDecodeError as error:
        return Faulty(Reason.UNREADABLE_BODY, "", f"not valid JSON: {error.msg} at character {error.pos}", part)
    fault = _first_fault(value)
    return value if fault is None else Faulty(*fault, part)


def _integer(digits: str) -> int | float:
    """Integers past 64 bits as floats, as orjson reads them."""
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        return float(digits)
    return int(digits)


def _first_fault(value: object) -> tuple[Reason, str, str] | None:
    """The first number or text in a tree that cannot be stored: reason, dotted path, message. No recursion."""
    stack: list[tuple[_Trail, Iterator[tuple[Any, Any]]]] = [(None, enumerate([value]))]
    while stack:
        trail, items = stack[-1]
        for key, item in items:
            kind = item.__class__
            if kind is float and not math.isfinite(item):
                return Reason.NOT_FINITE, _path((trail, key)), f"is {item}, not a finite number"
            if (kind is str and not _is_unicode(item)) or (key.__class__ is str and not _is_unicode(key)):
                return Reason.INVALID_TEXT, _path((trail, key)), "holds half a surrogate pair"
            if kind is dict or kind is list:
                stack.append(((trail, key), iter(item.items()) if kind is dict else enumerate(item)))
                break
        else:
            stack.pop()
    return None


def _path(trail: _Trail) -> str:
    """The dotted path of a trail, without the list that stands around the whole value."""
    parts: list[str] = []
    while trail is not None:
        trail, key = trail
        parts.append(printable(str(key)))
    return ".".join(reversed(parts[:-1]))


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str, limit: int = 256) -> str:
    """Text that can be written as UTF-8, at most `limit` characters."""
    return text[:limit].encode("utf-8", "replace").decode()


_PEEK: Final = {
    name: re.compile(rb'"%s"\s*:\s*"([^"\\\x00-\x1f\x7f-\xff]{1,256})"' % name.encode())
    for name in ("event_id", "event_type")
}


def peek(original: bytes, name: str) -> str:
    """The `event_id` or `event_type` of an event that could not be read, as far as it can be seen; else ""."""
    match = _PEEK[name].search(original)
    return match[1].decode() if match else ""
