"""One bad event: a named reason, a clear message, its own bytes kept, and no other event lost with it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from schemas.reasons import Reason
from tests.ingest.support import NOW, Door, event

GOOD = 3


def around(bad: bytes) -> bytes:
    """A batch with `bad` in the middle of good events."""
    good = [json.dumps(event()).encode() for _ in range(GOOD)]
    return b"[" + b",".join([good[0], bad, *good[1:]]) + b"]"


def raw(changes: str) -> bytes:
    """A good event as bytes, with more members written by hand."""
    text = json.dumps(event(event_id="bad"))
    return (text[:-1] + "," + changes + "}").encode()


def props(**changes: Any) -> dict[str, Any]:
    return {"properties": {**event()["properties"], **changes}}


BAD_VALUES: list[tuple[dict[str, Any], Reason, str]] = [
    ({"user_id": ["u"]}, Reason.WRONG_TYPE, "user_id"),
    ({"properties": "none"}, Reason.WRONG_TYPE, "properties"),
    (props(view_duration_seconds="long"), Reason.WRONG_TYPE, "properties.view_duration_seconds"),
    ({"event_id": None}, Reason.MISSING_FIELD, "event_id"),
    ({"timestamp": None}, Reason.MISSING_FIELD, "timestamp"),
    ({"event_type": None}, Reason.MISSING_FIELD, "event_type"),
    ({"user_id": ""}, Reason.EMPTY_ID, "user_id"),
    ({"event_type": "campaign_view"}, Reason.UNKNOWN_EVENT_TYPE, "event_type"),
    ({"source": "toaster"}, Reason.INVALID_SOURCE, "source"),
    (props(view_type="glanced"), Reason.UNKNOWN_ENUM, "properties.view_type"),
    (props(campaign_id="42"), Reason.INVALID_UUID, "properties.campaign_id"),
    (props(view_duration_seconds=-1), Reason.OUT_OF_RANGE, "properties.view_duration_seconds"),
    (props(view_duration_seconds=2**70), Reason.OUT_OF_RANGE, "properties.view_duration_seconds"),
    (props(view_duration_seconds=10**400), Reason.NOT_FINITE, ""),
    ({"timestamp": NOW + 3650 * 86400}, Reason.FUTURE_TIMESTAMP, "timestamp"),
    ({"timestamp": NOW - 3650 * 86400}, Reason.TOO_OLD, "timestamp"),
    ({"timestamp": NOW + 301}, Reason.FUTURE_TIMESTAMP, "timestamp"),
    ({"timestamp": "yesterday"}, Reason.INVALID_TIMESTAMP, "timestamp"),
]


@pytest.mark.parametrize(("changes", "reason", "field"), BAD_VALUES)
async def test_a_bad_value_costs_its_event_only(
    door: Door, changes: dict[str, Any], reason: Reason, field: str
) -> None:
    bad = json.dumps(event(**{"event_id": "bad", **changes})).encode()
    answer = await door.post(around(bad))
    assert answer.status == 200
    assert answer.json["accepted"] == GOOD == len(door.kafka.events())
    (verdict,) = answer.json["rejected"]
    assert (verdict["index"], verdict["reason"]) == (1, reason)
    assert verdict["field"] == field or not field
    assert verdict["message"]
    assert verdict["event_id"] == ("" if changes.get("event_id", "x") is None else "bad")
    (line,) = door.kafka.rejected()
    assert json.loads(line.original) == json.loads(bad) or reason in (Reason.NOT_FINITE, Reason.OUT_OF_RANGE)
    assert (line.tenant, line.key_id, line.reason, line.received_at) == ("demo", "dev-write", reason, NOW)


DEEP = '"x": ' + '{"a":' * 40 + "1" + "}" * 40
ABYSS = '"x": ' + "[" * 3000 + "]" * 3000
BAD_TEXT: list[tuple[bytes, Reason, str]] = [
    (raw('"score": NaN'), Reason.NOT_FINITE, "score"),
    (raw('"a": {"b": [1, -Infinity]}'), Reason.NOT_FINITE, "a.b.1"),
    (raw('"big": 1e999'), Reason.NOT_FINITE, "big"),
    (raw('"name": "\\ud800"'), Reason.INVALID_TEXT, "name"),
    (raw('"\\udfff": 1'), Reason.INVALID_TEXT, "?"),
    (raw('"nul": "a\\u0000b"'), Reason.INVALID_TEXT, ""),
    (raw(DEEP), Reason.TOO_DEEP, ""),
    (raw(ABYSS), Reason.TOO_DEEP, ""),
    (raw('"name": "@"').replace(b"@", b"\xff\xfe"), Reason.INVALID_TEXT, ""),
    (raw('"name": tru'), Reason.UNREADABLE_BODY, ""),
    (b"7", Reason.NOT_AN_OBJECT, ""),
    (b'["nested"]', Reason.NOT_AN_OBJECT, ""),
    (b"null", Reason.NOT_AN_OBJECT, ""),
]


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(("bad", "reason", "field"), BAD_TEXT)
async def test_unreadable_bytes_cost_their_event_only(
    door: Door, bad: bytes, reason: Reason, field: str, lines: bool
) -> None:
    if lines:
        good = json.dumps(event()).encode()
        answer = await door.post(b"\n".join([good, bad, good, good]), content_type="application/x-ndjson")
    else:
        answer = await door.post(around(bad))
    assert (answer.status, answer.json["accepted"], answer.reasons) == (200, GOOD, [reason])
    (verdict,) = answer.json["rejected"]
    assert verdict["index"] == 1
    assert verdict["field"] == field or not field
    assert verdict["event_id"] == ("bad" if b'"bad"' in bad else "")
    (line,) = door.kafka.rejected()
    kept = base64.b64decode(line.original) if line.encoding == "base64" else line.original.encode()
    assert kept == bad or json.loads(kept) == json.loads(bad)


async def test_broken_utf8_is_kept_as_base64(door: Door) -> None:
    bad = raw('"name": "@"').replace(b"@", b"\xff\xfe")
    await door.post(around(bad))
    (line,) = door.kafka.rejected()
    assert line.encoding == "base64"
    assert base64.b64decode(line.original) == bad


async def test_an_envelope_with_a_bad_event_is_still_an_envelope(door: Door) -> None:
    body = b'{"sent_at": "now", "events" : ' + around(raw('"x": NaN')) + b', "n": {"a": [1]}}'
    answer = await door.post(body)
    assert (answer.json["accepted"], answer.reasons) == (GOOD, ["not_finite"])


async def test_nothing_accepted_is_422_with_the_same_body(door: Door) -> None:
    answer = await door.post([event(source="toaster"), 5])
    assert (answer.status, answer.json["accepted"]) == (422, 0)
    assert answer.reasons == ["invalid_source", "not_an_object"]
    assert len(door.kafka.rejected()) == 2


async def test_a_scalar_body_is_an_event_that_is_no_object(door: Door) -> None:
    answer = await door.post(b"null")
    assert (answer.status, answer.reasons) == (422, ["not_an_object"])


async def test_of_duplicate_keys_the_last_holds(door: Door) -> None:
    await door.post(raw('"user_id": "first", "user_id": "last"'))
    assert [line.user_id for line in door.kafka.events()] == ["last"]


async def test_an_event_twice_in_a_batch_is_accepted_twice_here(door: Door) -> None:
    twin = event(event_id="twin")
    answer = await door.post([twin, twin])
    assert answer.json == {"accepted": 2, "rejected": []}
    assert [line.event_id for line in door.kafka.events()] == ["twin", "twin"]


async def test_huge_integers_read_the_same_alone_and_beside_a_bad_event(door: Door) -> None:
    one = raw('"big": 1180591620717411303424')
    alone = await door.post(one)
    beside = await door.post(b"[" + one + b"," + raw('"x": NaN') + b"]")
    assert alone.reasons == ["out_of_range"]
    assert beside.reasons == ["out_of_range", "not_finite"]


async def test_verdicts_never_hold_half_a_surrogate_pair(door: Door) -> None:
    answer = await door.post(raw('"event_id": "\\ud83d"'))
    assert answer.status == 422
    answer.body.decode()


async def test_the_index_of_a_rejected_line_is_its_place_in_the_chunk(door: Door) -> None:
    await door.post([5, event(), 6])
    assert [line.index for line in door.kafka.rejected()] == [0, 1]
