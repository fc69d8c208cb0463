"""Everything bad that a client may send, and what it has to be told."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from schemas.reasons import Reason
from tests.e2e.events import CAMPAIGN, clicked, event, iso

YEARS = 10 * 365 * 86_400


class BadEvent(NamedTuple):
    """`body`: the bytes of one event in a batch."""

    name: str
    body: bytes
    reason: Reason


class BadBody(NamedTuple):
    """A whole request that cannot be taken."""

    name: str
    body: bytes
    status: int
    code: str
    headers: Mapping[str, str] = MappingProxyType({})


def _changed(**changes: Any) -> bytes:
    return json.dumps({**clicked(), **changes}).encode()


def _property(**changes: Any) -> bytes:
    return json.dumps(event("campaign_clicked", **{"campaign_id": CAMPAIGN, **changes})).encode()


def _raw(text: str) -> bytes:
    """With one more member, written by hand."""
    return json.dumps(clicked()).encode()[:-1] + b"," + text.encode("utf-8", "surrogateescape") + b"}"


def _without(name: str) -> bytes:
    return json.dumps({key: value for key, value in clicked().items() if key != name}).encode()


BAD_EVENTS = (
    BadEvent("wrong type", _property(time_to_click_seconds="soon"), Reason.WRONG_TYPE),
    BadEvent("wrong type of the envelope", _changed(user_id=["u"]), Reason.WRONG_TYPE),
    BadEvent("no object", b'"click"', Reason.NOT_AN_OBJECT),
    BadEvent("missing time", _without("timestamp"), Reason.MISSING_FIELD),
    BadEvent("missing property", json.dumps(event("campaign_clicked")).encode(), Reason.MISSING_FIELD),
    BadEvent("empty user", _changed(user_id=""), Reason.EMPTY_ID),
    BadEvent("unknown enum", _property(click_type="elbow"), Reason.UNKNOWN_ENUM),
    BadEvent("unknown type", _changed(event_type="campaign_licked"), Reason.UNKNOWN_EVENT_TYPE),
    BadEvent("unknown source", _changed(source="fax"), Reason.INVALID_SOURCE),
    BadEvent("no uuid", _property(campaign_id="42"), Reason.INVALID_UUID),
    BadEvent("NaN", _raw('"score": NaN'), Reason.NOT_FINITE),
    BadEvent("infinite number", _raw('"score": 1e999'), Reason.NOT_FINITE),
    BadEvent("huge number", _raw('"score": 1180591620717411303424'), Reason.OUT_OF_RANGE),
    BadEvent("negative amount", json.dumps(event("user_purchased", source="backend", order_value=-1.0,
             order_id=CAMPAIGN)).encode(), Reason.NEGATIVE_AMOUNT),
    BadEvent("deep nesting", _raw('"x": ' + '{"a":' * 200 + "1" + "}" * 200), Reason.TOO_DEEP),
    BadEvent("very deep nesting", _raw('"x": ' + "[" * 5000 + "]" * 5000), Reason.TOO_DEEP),
    BadEvent("broken UTF-8", _raw('"name": "\udcff\udcfe"'), Reason.INVALID_TEXT),
    BadEvent("half a surrogate pair", _raw('"name": "\\ud83d"'), Reason.INVALID_TEXT),
    BadEvent("clock 10 years ahead", _changed(timestamp=iso(time.time() + YEARS)), Reason.FUTURE_TIMESTAMP),
    BadEvent("clock 10 years behind", _changed(timestamp=iso(time.time() - YEARS)), Reason.TOO_OLD),
    BadEvent("no time at all", _changed(timestamp="yesterday"), Reason.INVALID_TIMESTAMP),
    BadEvent("no JSON", _raw('"x": tru'), Reason.UNREADABLE_BODY),
)  # fmt: skip

_BOMB = gzip.compress(b" " * (64 << 20))

BAD_BODIES = (
    BadBody("empty", b"", 400, "empty_body"),
    BadBody("no JSON", b"hello", 400, "unreadable_body"),
    BadBody("cut off", b'[{"event_id": "1"', 400, "unreadable_body"),
    BadBody("broken gzip", b"\x1f\x8bnonsense", 400, "unreadable_body", {"Content_Encoding": "gzip"}),
    BadBody("gzip cut off", gzip.compress(b"[]" * 500)[:-9], 400, "unreadable_body", {"Content_Encoding": "gzip"}),
    BadBody("unknown encoding", b"[]", 415, "unsupported_encoding", {"Content_Encoding": "br"}),
    BadBody("gzip bomb", _BOMB, 413, "too_large", {"Content_Encoding": "gzip"}),
    BadBody("large body", b"[" + b" " * (4 << 20) + b"]", 413, "too_large"),
    BadBody("too many events", b"[" + b"{}," * 20_000 + b"{}]", 413, "too_large"),
)
