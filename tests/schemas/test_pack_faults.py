"""A pack with a fault does not load, and the error says where and what."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigError
from schemas.taxonomy import load_pack

BROKEN = Path(__file__).parent / "broken"

FAULTS = {
    "a_list_at_the_top": (1, "", "must be a mapping"),
    "amount_without_currency": (24, "events.thing_bought.properties.price.column", "unit: currency"),
    "column_filled_twice": (27, "events.thing_bought.properties.weight.column", "already filled by 'order_id'"),
    "column_of_wrong_type": (24, "events.thing_bought.properties.price.column", "needs type bool"),
    "column_type_differs": (40, "events.thing_seen.properties.size.column", "in 'thing_bought'"),
    "context_column_not_allowed": (12, "context.user_segment.column", "segment or channel"),
    "duplicate_event": (31, "events.thing_bought", "first on line 14"),
    "duplicate_key": (5, "title", "first on line 4"),
    "empty_file": (None, "", "is empty"),
    "enum_on_a_number": (24, "events.thing_bought.properties.price.enum", "fits only type string"),
    "enum_value_twice": (8, "enums.colour.2", "listed twice"),
    "event_name_not_snake_case": (31, "events.ThingSeen", "lower_snake_case"),
    "events_are_a_list": (13, "events", "must be a mapping"),
    "freshness_out_of_order": (10, "freshness.normal", "target <= acceptable <= grace"),
    "impossible_date": (4, "title", "put it in quotes"),
    "key_is_a_number": (4, "7", "not text as a key"),
    "min_above_max": (26, "events.thing_bought.properties.size.min", "10 is above max 9"),
    "missing_owner": (14, "events.thing_bought.owner", "is missing"),
    "no_events": (13, "events", "must not be empty"),
    "not_a_duration": (10, "freshness.normal.target", "such as 10s"),
    "not_yaml": (7, "", "not valid YAML"),
    "points_at_itself": (2, "pack.x", "refers to itself"),
    "role_of_event_without_subtype": (43, "roles.activity.1", "no property with column: subtype"),
    "role_of_unknown_event": (42, "roles.purchase.0", "did you mean 'thing_bought'?"),
    "role_of_unknown_subtype": (43, "roles.activity.0", "did you mean 'red'?"),
    "score_beyond_one": (24, "events.thing_bought.properties.price", "within 0 and 1"),
    "subtype_without_enum": (25, "events.thing_bought.properties.colour.column", "needs an enum"),
    "tab_indented": (8, "", "not valid YAML"),
    "unknown_column": (23, "events.thing_bought.properties.order_id.column", "did you mean 'order_id'?"),
    "unknown_enum_list": (25, "events.thing_bought.properties.colour.enum", "did you mean 'colour'?"),
    "unknown_event_key": (17, "events.thing_bought.ovner", "did you mean 'owner'?"),
    "unknown_freshness_class": (21, "events.thing_bought.freshness", "did you mean 'normal'?"),
    "unknown_property_key": (26, "events.thing_bought.properties.size.minimum", "did you mean 'min'?"),
    "unknown_role": (42, "roles.purchse", "did you mean 'purchase'?"),
    "unknown_source": (35, "events.thing_seen.sources.0", "did you mean 'server'?"),
    "unknown_top_level_key": (4, "titel", "did you mean 'title'?"),
    "unknown_type": (24, "events.thing_bought.properties.price.type", "did you mean 'float'?"),
    "unquoted_enum_value": (8, "enums.colour.1", "not True; put it in quotes"),
    "unquoted_version": (2, "version", "not 1.2; put it in quotes"),
    "volume_upside_down": (20, "events.thing_bought.volume", "min <= max"),
}


def test_every_broken_pack_has_its_expected_fault() -> None:
    assert {path.stem for path in BROKEN.glob("*.yaml")} == set(FAULTS)


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_fault_names_file_line_key_and_remedy(name: str) -> None:
    path = BROKEN / f"{name}.yaml"
    line, key, words = FAULTS[name]
    with pytest.raises(ConfigError) as caught:
        load_pack(path)
    assert (caught.value.file, caught.value.line, caught.value.key) == (str(path), line, key)
    assert words in caught.value.message
    assert str(caught.value).startswith(str(path))


def test_absent_file_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_pack(BROKEN / "nowhere.yaml")


def test_file_that_is_not_utf8_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"pack: caf\xe9\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_pack(path)


def test_control_character_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "bell.yaml"
    path.write_bytes(b"pack: a\x07b\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_pack(path)


def test_repeated_aliases_cannot_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    path.write_text("\n".join(rows))
    with pytest.raises(ConfigError, match="too large"):
        load_pack(path)
