"""The work on a body grows with its size alone, whatever it holds."""

from __future__ import annotations

import time

import pytest

from ingest.decode import Faulty, decode_carefully
from ingest.refusals import Refusal
from schemas.reasons import Reason

SIZE = 2_000_000
BODIES = {
    "brackets": b"{" * SIZE,
    "mixed brackets": b"[{" * (SIZE // 2),
    "a deep event": b"[" * (SIZE // 2) + b"]" * (SIZE // 2 - 1) + b",NaN]",
    "an open string": b'["' + b"a" * SIZE,
    "escapes": b'["' + b"\\\\" * (SIZE // 2),
    "empty items": b"[" + b"[]," * (SIZE // 3) + b"NaN]",
    "many leaves": b'[{"x":[' + b"{}," * (SIZE // 3) + b"NaN]}]",
    "long numbers": b"[" + b"9" * SIZE + b"]",
    "quotes": b'["' * (SIZE // 2),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_done_with_quickly(name: str) -> None:
    started = time.process_time()
    try:
        events = decode_carefully(BODIES[name], lines=False, limit=10_000)
    except Refusal as refusal:
        assert refusal.status in (400, 413)
    else:
        assert all(isinstance(event, Faulty) for event in events)
    assert time.process_time() - started < 2


def test_a_large_event_that_is_no_json_is_not_looked_into() -> None:
    body = b'[{"x":"' + b"a" * 1_100_000 + b'", "y": NaN}, {"a": 1}]'
    large, good = decode_carefully(body, lines=False, limit=10)
    assert isinstance(large, Faulty)
    assert large.reason is Reason.EVENT_TOO_LARGE
    assert good == {"a": 1}


def test_the_path_of_a_fault_is_told() -> None:
    (fault,) = decode_carefully(b'[{"a": {"b": [1, {"c": NaN}]}}]', lines=False, limit=10)
    assert isinstance(fault, Faulty)
    assert fault.field == "a.b.1.c"
