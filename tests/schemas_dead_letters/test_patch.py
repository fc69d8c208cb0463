"""What each operation of a patch does, what it leaves alone, and what a patch may not say."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.dead_letters.patch import OPERATIONS, Patch
from schemas.dead_letters.paths import parse
from schemas.errors import ConfigError
from schemas.taxonomy.yamlfile import conform, read


def patched(event: dict[str, Any], *steps: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(event)
    Patch.model_validate({"patch": list(steps)}).on_event(changed)
    return changed


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        ({"set": {"source": "app"}}, {"source": "App"}, {"source": "app"}),
        ({"set": {"properties.a.b": 1}}, {}, {"properties": {"a": {"b": 1}}}),
        ({"set": {"a.1": 9}}, {"a": [1, 2]}, {"a": [1, 9]}),
        ({"set": {"a.*.b": 0}}, {"a": [{"b": 1}, {}, 3]}, {"a": [{"b": 0}, {"b": 0}, 3]}),
        ({"set": {"a\\.b": 1}}, {"a": {"b": 2}}, {"a": {"b": 2}, "a.b": 1}),
        ({"set": {"a.b": 1}}, {"a": "text"}, {"a": "text"}),
        ({"default": {"a": 1, "b": 1, "c": 1}}, {"a": 0, "b": None}, {"a": 0, "b": 1, "c": 1}),
        ({"rename": {"p.x": "q.y"}}, {"p": {"x": 1, "z": 2}}, {"p": {"z": 2}, "q": {"y": 1}}),
        ({"rename": {"x": "y"}}, {"z": 1}, {"z": 1}),
        ({"rename": {"x": "x"}}, {"x": 1}, {"x": 1}),
        ({"rename": {"x": "y.z"}}, {"x": 1, "y": "text"}, {"x": 1, "y": "text"}),
        ({"copy": {"p.u": "user_id"}}, {"p": {"u": "me"}}, {"p": {"u": "me"}, "user_id": "me"}),
        ({"remove": ["p.x", "nothing"]}, {"p": {"x": 1}}, {"p": {}}),
        ({"remove": ["a.*"]}, {"a": [1, 2, 3]}, {"a": []}),
        ({"replace": {"v": {"open": "opened"}}}, {"v": "open"}, {"v": "opened"}),
        ({"replace": {"v": {"1": "one", "null": 0}}}, {"v": 1}, {"v": "one"}),
        ({"replace": {"v": {"open": "opened"}}}, {"v": ["open"]}, {"v": ["open"]}),
        ({"cast": {"v": "number"}}, {"v": " 19.90 "}, {"v": 19.9}),
        ({"cast": {"v": "number"}}, {"v": "12"}, {"v": 12}),
        ({"cast": {"v": "number"}}, {"v": "nan"}, {"v": "nan"}),
        ({"cast": {"v": "int"}}, {"v": "3.0"}, {"v": 3}),
        ({"cast": {"v": "int"}}, {"v": "3.5"}, {"v": 3.5}),
        ({"cast": {"v": "string"}}, {"v": 3}, {"v": "3"}),
        ({"cast": {"v": "bool"}}, {"v": "Yes"}, {"v": True}),
        ({"cast": {"v": "bool"}}, {"v": 2}, {"v": 2}),
        ({"shift": {"t": "-1h"}}, {"t": "2026-01-31T12:00:00Z"}, {"t": "2026-01-31T11:00:00+00:00"}),
        ({"shift": {"t": "90s"}}, {"t": 1_763_712_000}, {"t": 1_763_712_090}),
        ({"shift": {"t": "1s"}}, {"t": 1_763_712_000_000}, {"t": 1_763_712_001_000}),
        ({"shift": {"t": "1d"}}, {"t": "soon"}, {"t": "soon"}),
    ],
)
def test_an_operation_changes_its_place_and_nothing_else(
    step: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> None:
    changed = patched(before, step)
    assert json.dumps(changed, sort_keys=True) == json.dumps(after, sort_keys=True)


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({"v": "a"}, True),
        ({"v": "b"}, False),
        ({"n": 1}, True),
        ({"n": True}, False),
        ({"none": None}, True),
        ({"missing": None}, False),
        ({"missing": {"exists": False}}, True),
        ({"v": {"exists": True, "starts_with": "a"}}, True),
        ({"v": {"in": ["x", "a"]}}, True),
        ({"v": {"contains": "z"}}, False),
        ({"list.*.k": 2}, True),
        ({"v": "a", "n": 2}, False),
    ],
)
def test_a_step_is_for_those_events_that_where_means(where: dict[str, Any], holds: bool) -> None:
    event = {"v": "a", "n": 1, "none": None, "list": [{"k": 1}, {"k": 2}]}
    changed = patched(event, {"where": where, "set": {"hit": True}})
    assert ("hit" in changed) == holds


def test_raw_works_on_the_text_before_it_is_json() -> None:
    patch = Patch.model_validate({"patch": [{"raw": [{"find": "NaN", "replace": "0"}, {"find": "'", "replace": '"'}]}]})
    assert json.loads(patch.on_text("{'a': NaN}")) == {"a": 0}
    bomb = Patch.model_validate({"patch": [{"raw": [{"find": "a", "replace": "a" * 10_000}]}] * 5})
    assert len(bomb.on_text("a" * 100)) <= 1_000_000


@pytest.mark.parametrize(
    "step",
    [
        {},
        {"set": {"a": 1}, "remove": ["b"]},
        {"set": {"event_id": "one for all"}},
        {"rename": {"a.*": "b"}},
        {"set": {"a..b": 1}},
        {"set": {".": 1}},
        {"sett": {"a": 1}},
        {"cast": {"a": "money"}},
        {"shift": {"t": "soon"}},
        {"raw": [{"find": ""}]},
        {"where": {"a": 1}, "raw": [{"find": "x"}]},
        {"where": {"a": {"is": 1, "like": 2}}, "set": {"b": 1}},
    ],
)
def test_a_patch_that_means_nothing_is_refused(step: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Patch.model_validate({"patch": [step]})


def test_a_fault_in_a_patch_file_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "patch.yaml"
    path.write_text("patch:\n  - set: {source: app}\n  - sat: {source: app}\n")
    with pytest.raises(ConfigError, match=r"patch\.yaml:3.*did you mean 'set'"):
        conform(Patch, read(path))


def test_the_same_patch_has_the_same_digest_however_it_is_written() -> None:
    one = Patch.model_validate({"patch": [{"where": {"a": 1}, "set": {"b": 1, "c": 2}}]})
    same = Patch.model_validate({"patch": [{"set": {"c": 2, "b": 1}, "where": {"a": {"is": 1}}}]})
    assert one.digest == same.digest != Patch.model_validate({"patch": [{"set": {"b": 1}}]}).digest
    assert Patch().digest == ""


patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""On a machine that is busy with other things."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)
PATHS = st.lists(st.sampled_from(["a", "b", "c", "0", "1"]), min_size=1, max_size=3).map(".".join)
WILD = st.lists(st.sampled_from(["a", "b", "c", "0", "*"]), min_size=1, max_size=3).map(".".join)
STEPS = st.one_of(
    st.fixed_dictionaries({"set": st.dictionaries(WILD, JSON, max_size=2)}),
    st.fixed_dictionaries({"default": st.dictionaries(WILD, JSON, max_size=2)}),
    st.fixed_dictionaries({"rename": st.dictionaries(PATHS, PATHS, max_size=2)}),
    st.fixed_dictionaries({"copy": st.dictionaries(PATHS, PATHS, max_size=2)}),
    st.fixed_dictionaries({"remove": st.lists(WILD, max_size=2)}),
    st.fixed_dictionaries({"cast": st.dictionaries(WILD, st.sampled_from(["string", "int", "number", "bool"]))}),
    st.fixed_dictionaries({"shift": st.dictionaries(WILD, st.sampled_from(["1h", "-3d"]), max_size=2)}),
)
EVENTS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@patient
@given(EVENTS, st.lists(STEPS, max_size=4))
def test_any_patch_leaves_any_event_json(event: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    changed = patched(event, *steps)
    assert isinstance(changed, dict)
    json.dumps(changed)


@patient
@given(EVENTS, STEPS.filter(lambda step: not {"rename", "copy", "shift", "remove"} & step.keys()))
def test_what_is_mended_is_not_changed_by_mending_it_again(event: dict[str, Any], step: dict[str, Any]) -> None:
    once = patched(event, step)
    assert json.dumps(patched(once, step)) == json.dumps(once)


@patient
@given(EVENTS, PATHS)
def test_taking_a_value_away_is_the_end_of_it(event: dict[str, Any], path: str) -> None:
    keys = parse(path)
    gone = patched(event, {"remove": [path]})
    if all(not key.isdigit() for key in keys):
        assert patched(gone, {"where": {path: {"exists": True}}, "set": {"found": 1}}) == gone


def test_every_operation_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "dead-letters.md").read_text()
    assert [name for name in OPERATIONS if f"`{name}`" not in text] == []
