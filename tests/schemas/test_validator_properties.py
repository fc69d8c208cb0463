"""Whatever JSON comes, there is a verdict: a line that can be written, or a rejection with a reason."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.reasons import Reason
from schemas.taxonomy import Rejection, shipped_packs, validator
from schemas.taxonomy.example import example
from schemas.wire import EventLine
from tests.schemas.conftest import NOW

PACK = shipped_packs()["marketing"]
CHECK = validator(PACK)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
    st.text(st.characters(codec=None), max_size=20),
    st.sampled_from(["", "opened", "2026-01-31T12:00:00Z", "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "\0", "\ud800"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec=None), max_size=8), inner),
    max_leaves=12,
)
FIELDS = ["event_id", "timestamp", "user_id", "session_id", "source", "version", "properties", "context", "stray"]


def assert_sound(verdict: dict[str, Any] | Rejection) -> None:
    """A line decodes as `EventLine` from the bytes that would be stored; a rejection can be written as JSON."""
    if isinstance(verdict, Rejection):
        assert isinstance(verdict.reason, Reason)
        assert verdict.message
        orjson.dumps(list(verdict))
        return
    written = orjson.dumps({**verdict, "tenant": "t", "slot": 0, "chunk": 1})
    assert json.loads(written) == {**verdict, "tenant": "t", "slot": 0, "chunk": 1}
    msgspec.json.decode(written, type=EventLine)


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_any_json_value_gets_a_verdict(value: Any) -> None:
    assert_sound(CHECK.validate(value, received_at=NOW))


@given(st.sampled_from(sorted(PACK.events)), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
@settings(max_examples=300, deadline=None)
def test_any_envelope_gets_a_verdict(event_type: str, changes: dict[str, Any]) -> None:
    assert_sound(CHECK.validate({**example(PACK, event_type), **changes}, received_at=NOW))


@given(st.sampled_from(sorted(PACK.events)), st.data())
@settings(max_examples=500, deadline=None)
def test_any_property_value_gets_a_verdict_and_the_input_stays_as_it_was(event_type: str, data: st.DataObject) -> None:
    event = example(PACK, event_type)
    for name in data.draw(st.sets(st.sampled_from(sorted(event["properties"])), max_size=3)):
        event["properties"][name] = data.draw(JSON)
    event["properties"].update(data.draw(st.dictionaries(st.text(max_size=5), JSON, max_size=2)))
    before = repr(copy.deepcopy(event))
    assert_sound(CHECK.validate(event, received_at=NOW, backfill=data.draw(st.booleans())))
    assert repr(event) == before


@given(st.floats(min_value=0, max_value=1e12))
def test_money_is_kept_to_the_millionth(value: float) -> None:
    event = example(PACK, "campaign_spend_recorded")
    event["properties"]["amount"] = value
    line = CHECK.validate(event, received_at=NOW)
    assert isinstance(line, dict)
    assert line.get("amount_micros", 0) == round(value * 1e6)
    assert line["properties"]["amount"] == value
