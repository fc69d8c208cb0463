"""What is kept of an event that was not accepted: one `RejectedLine`, with the event's own bytes."""

from __future__ import annotations

import base64

import orjson

from ingest.decode import printable
from ingest.steps import Origin
from schemas.taxonomy import Rejection

MESSAGE_CHARS = 1_000


def rejected_line(rejection: Rejection, original: bytes, origin: Origin) -> bytes:
    """The line as JSON, open at the end: the chunk adds its id and the line's place. What is not UTF-8: base64."""
    text, encoding = _as_text(original)
    line = {
        "tenant": origin.tenant,
        "received_at": origin.received_at,
        "reason": str(rejection.reason),
        "field": printable(rejection.field),
        "message": printable(rejection.message, MESSAGE_CHARS),
        "key_id": origin.key_id,
        "event_id": printable(rejection.event_id),
        "event_type": printable(rejection.event_type),
        "original": text,
        "encoding": encoding,
    }
    return orjson.dumps(line)[:-1]


def _as_text(original: bytes) -> tuple[str, str]:
    """Text and its encoding. A character that was cut in two at the end is dropped, not held against the rest."""
    try:
        return original.decode(), "utf-8"
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and error.start >= len(original) - 3 and len(original) >= 4:
            return original[: error.start].decode(), "utf-8"
        return base64.b64encode(original).decode(), "base64"
