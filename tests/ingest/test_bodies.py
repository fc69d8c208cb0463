"""What a body may look like: its forms, its content types and its encodings."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
import zstandard

from ingest.settings import CollectorSettings
from tests.ingest.support import Door, MakeDoor, event


async def test_one_event_is_in_kafka_before_the_answer(door: Door) -> None:
    answer = await door.post(event(event_id="e1"))
    assert (answer.status, answer.json) == (200, {"accepted": 1, "rejected": []})
    assert [line.event_id for line in door.kafka.events()] == ["e1"]


@pytest.mark.parametrize("wrap", [lambda events: events, lambda events: {"events": events}])
async def test_arrays_and_envelopes_are_batches(door: Door, wrap: object) -> None:
    events = [event(event_id=f"e{n}") for n in range(5)]
    answer = await door.post(wrap(events))  # type: ignore[operator]
    assert answer.json["accepted"] == 5
    assert sorted(line.event_id for line in door.kafka.events()) == [f"e{n}" for n in range(5)]


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/json", "text/plain;charset=UTF-8", ""])
async def test_lines_are_recognised_by_type_or_by_look(door: Door, content_type: str) -> None:
    body = b"\n".join(json.dumps(event()).encode() for _ in range(3)) + b"\r\n\n"
    answer = await door.post(body, content_type=content_type)
    assert answer.json == {"accepted": 3, "rejected": []}


async def test_one_line_of_ndjson_is_one_event(door: Door) -> None:
    answer = await door.post(event(), content_type="application/x-ndjson")
    assert answer.json["accepted"] == 1


async def test_an_event_with_a_property_called_events_is_not_an_envelope(door: Door) -> None:
    answer = await door.post(event(events=[1, 2]))
    assert answer.json["accepted"] == 1


async def test_curl_needs_no_content_type(door: Door) -> None:
    answer = await door.post(event(), content_type="application/x-www-form-urlencoded")
    assert answer.status == 200


@pytest.mark.parametrize("content_type", ["text/xml", "multipart/form-data; boundary=x", "application/octet-stream"])
async def test_other_content_types_are_415(door: Door, content_type: str) -> None:
    answer = await door.post(event(), content_type=content_type)
    assert (answer.status, answer.json["error"]) == (415, "unsupported_type")


async def test_other_charsets_are_415(door: Door) -> None:
    answer = await door.post(event(), content_type="application/json; charset=utf-16")
    assert (answer.status, answer.json["error"]) == (415, "unsupported_charset")


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def zstd_stream(data: bytes) -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(data) + packer.flush()


PACKERS = [
    ("gzip", gzip.compress),
    ("GZIP", lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:])),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("zstd", zstandard.ZstdCompressor().compress),
    ("zstd", zstd_stream),
    ("identity", bytes),
]


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
async def test_packed_bodies_are_unpacked(door: Door, encoding: str, pack: object) -> None:
    body = pack(json.dumps([event() for _ in range(3)]).encode())  # type: ignore[operator]
    answer = await door.post(body, content_encoding=encoding)
    assert answer.json == {"accepted": 3, "rejected": []}


@pytest.mark.parametrize(("encoding", "pack"), PACKERS[:-1])
async def test_bodies_that_were_cut_or_broken_are_400(door: Door, encoding: str, pack: object) -> None:
    body = pack(json.dumps([event() for _ in range(3)]).encode())  # type: ignore[operator]
    for broken in (body[: len(body) // 2], body[:-3], b"not packed at all", b"\x1f\x8b" + bytes(30)):
        answer = await door.post(broken, content_encoding=encoding)
        assert (answer.status, answer.json["error"]) == (400, "unreadable_body"), broken[:20]


async def test_unknown_encodings_are_415(door: Door) -> None:
    answer = await door.post(event(), content_encoding="br")
    assert (answer.status, answer.json["error"]) == (415, "unsupported_encoding")
    assert "gzip" in answer.json["message"]


@pytest.mark.parametrize(("encoding", "pack"), PACKERS[:-1])
async def test_a_bomb_is_413_and_is_never_inflated(open_door: MakeDoor, encoding: str, pack: object) -> None:
    door = open_door(CollectorSettings(inflated_bytes=100_000))
    bomb = pack(b" " * 20_000_000)  # type: ignore[operator]
    answer = await door.post(bomb, content_encoding=encoding)
    assert (answer.status, answer.json["error"]) == (413, "too_large")


@pytest.mark.parametrize("body", [b"", b"   \n\t "])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
async def test_an_empty_body_is_400(door: Door, body: bytes, content_type: str) -> None:
    answer = await door.post(body, content_type=content_type)
    assert (answer.status, answer.json["error"]) == (400, "empty_body")


async def test_a_batch_of_nothing_accepts_nothing(door: Door) -> None:
    answer = await door.post({"events": []})
    assert (answer.status, answer.json) == (422, {"accepted": 0, "rejected": []})


UNREADABLE = [
    b"hello",
    b'{"event_id": ',
    b"{bad json}",
    b'[{"a": 1}',
    b'[{"a": "open]',
    b'{"events": 5}',
    b'{"events": {"a": NaN}}',
    b'[{"a": NaN}] and more',
    b'{"a": NaN} and more',
    b"\xff\xfe\x00",
]


@pytest.mark.parametrize("body", UNREADABLE)
async def test_what_is_no_json_is_400_and_counts_nothing(door: Door, body: bytes) -> None:
    answer = await door.post(body)
    assert (answer.status, answer.json["error"]) == (400, "unreadable_body")
    assert not door.kafka.records


async def test_lines_that_are_all_unreadable_are_400(door: Door) -> None:
    answer = await door.post(b"hello\nworld\n", content_type="application/x-ndjson")
    assert answer.status == 400


async def test_a_byte_order_mark_is_forgiven(door: Door) -> None:
    answer = await door.post(b"\xef\xbb\xbf" + json.dumps(event()).encode())
    assert answer.status == 200


async def test_a_body_may_arrive_in_pieces_without_a_length(door: Door) -> None:
    data = json.dumps(event()).encode()
    headers = {"authorization": "Bearer dev-write-key", "transfer-encoding": "chunked"}
    pieces = [data[:10], data[10:200], b"", data[200:]]
    answer = await door.request("POST", "/api/analytics/events", headers, pieces)
    assert answer.status == 200
