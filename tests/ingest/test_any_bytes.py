"""Whatever comes in: never a 500, and received = accepted + rejected."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decode import decode_carefully, decode_fast
from ingest.refusals import Refusal
from ingest.settings import CollectorSettings
from schemas.clock import ManualClock
from schemas.keys import KeyStore
from tests.ingest.support import NOW, Answer, FakeKafka, event, make_door

STATUSES = {200, 400, 413, 415, 422}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
fields = st.sampled_from(list(event()))


@st.composite
def almost_events(draw: Any) -> object:
    """A good event with some fields replaced by anything."""
    base = event(event_id=draw(st.uuids().map(str)))
    base.update(draw(st.dictionaries(fields, trees, max_size=2)))
    return base


def as_json(value: object) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


bodies = (
    st.binary(max_size=200)
    | trees.map(as_json)
    | st.lists(almost_events(), max_size=5).map(as_json)
    | st.lists(almost_events(), max_size=5).map(lambda events: b"\n".join(map(as_json, events)))
    | st.lists(almost_events(), max_size=3).map(lambda events: as_json({"events": events}))
)


@st.composite
def damaged(draw: Any) -> bytes:
    """A body with some bytes cut out or overwritten."""
    body = bytearray(draw(bodies))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 5))] = draw(
            st.binary(max_size=4) | st.sampled_from([b"{", b"]", b'"', b","])
        )
    return bytes(body)


def post(body: bytes, headers: dict[str, str]) -> tuple[Answer, FakeKafka]:
    async def send() -> tuple[Answer, FakeKafka]:
        clock = ManualClock(NOW)
        door = make_door(KeyStore(None, clock, dev_keys=True), clock, FakeKafka(), CollectorSettings())
        answer = await door.post(body, **headers)
        await door.collector.gateway.close()
        return answer, door.kafka

    return asyncio.run(send())


@settings(max_examples=150, deadline=None)
@given(
    body=damaged(),
    content_type=st.sampled_from(["application/json", "application/x-ndjson", "", "text/plain", "image/png"]),
    encoding=st.sampled_from(["", "", "", "gzip", "deflate", "zstd", "good gzip"]),
)
def test_any_bytes_are_answered_and_every_event_is_accounted_for(body: bytes, content_type: str, encoding: str) -> None:
    if encoding == "good gzip":
        body, encoding = gzip.compress(body), "gzip"
    answer, kafka = post(body, {"content_type": content_type, "content_encoding": encoding})
    assert answer.status in STATUSES
    rejected = kafka.rejected()
    received = max((line.n for line in kafka.ledger()), default=0)
    if answer.status not in (200, 422):
        assert not kafka.records
        return
    assert answer.json["accepted"] == len(kafka.events())
    assert len(answer.json["rejected"]) == len(rejected)
    assert received == answer.json["accepted"] + len(rejected)
    assert sum(count.n for count in kafka.counts()) == received
    indexes = [verdict["index"] for verdict in answer.json["rejected"]]
    assert indexes == sorted(set(indexes))


def outcome(body: bytes, careful: bool) -> object:
    try:
        if careful:
            return decode_carefully(body, lines=False, limit=100)
        return decode_fast(body, lines=False, limit=100)
    except Refusal as refusal:
        return refusal.status, refusal.code


@settings(max_examples=300, deadline=None)
@given(trees.filter(lambda value: isinstance(value, list | dict)))
def test_the_careful_way_reads_what_the_fast_way_reads(value: object) -> None:
    body = as_json(value)
    fast = outcome(body, careful=False)
    if fast is not None:
        assert outcome(body, careful=True) == fast
