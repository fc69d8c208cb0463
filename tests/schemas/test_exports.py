"""What a pack becomes for others: JSON Schema, TypeScript, a page of documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from schemas.taxonomy import Pack, Validator, load_pack, shipped_packs, validator
from schemas.taxonomy.docs import OWN_PACK, render_docs
from schemas.taxonomy.example import example
from schemas.taxonomy.jsonschema import json_schema
from schemas.taxonomy.typescript import typescript
from tests.schemas.conftest import NOW, ORDER
from tests.schemas.mini_jsonschema import valid

PAGE = Path(__file__).parents[2] / "docs" / "taxonomy.md"


def test_json_schema_agrees_with_the_validator_on_every_example(marketing: Pack, checker: Validator) -> None:
    schema = json_schema(marketing)
    for name in marketing.events:
        event = example(marketing, name)
        assert valid(event, schema, schema), name
        assert isinstance(checker.validate(event, received_at=NOW), dict)


@pytest.mark.parametrize(
    "changes",
    [
        {"order_id": "order-17"},
        {"order_id": None},
        {"price": -1},
        {"price": 1e13},
        {"price": "3"},
        {"price": True},
        {"colour": "blue"},
        {"colour": None},
        {"size": 10},
        {"size": None},
        {"size": 2.5},
        {"size": 2.0},
        {"weight": "heavy"},
        {"weight": 3},
        {"weight": []},
        {"tags": ["a", "b"]},
        {"tags": [None]},
        {"tags": "a"},
        {"shape": {"sides": 2}},
        {"shape": {"sides": 3, "more": True}},
        {"shape": {}},
        {"undeclared": [1, {"a": None}]},
    ],
)
def test_json_schema_gives_the_verdict_of_the_validator(tiny: Pack, changes: dict[str, Any]) -> None:
    schema = json_schema(tiny)
    event = {
        "event_id": "e",
        "event_type": "thing_bought",
        "timestamp": NOW,
        "user_id": "u",
        "source": "app",
        "properties": {"order_id": ORDER, "price": 1.5, **changes},
    }
    accepted = isinstance(validator(tiny).validate(event, received_at=NOW), dict)
    assert valid(event, schema, schema) is accepted


def test_json_schema_carries_owner_and_personal_marks(marketing: Pack) -> None:
    schema = json.loads(json.dumps(json_schema(marketing)))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    engaged = schema["$defs"]["user_engaged"]
    assert engaged["x-owner"] == "Mobile App"
    assert engaged["x-freshness-seconds"] == {"target": 300, "acceptable": 1800, "grace": 14400}
    assert engaged["properties"]["search_query"]["x-personal"] is True
    assert "x-personal" not in engaged["properties"]["engagement_type"]
    assert schema["$defs"]["user_purchased"]["properties"]["order_value"]["x-unit"] == "currency"


def test_typescript_maps_every_event_to_its_interface(marketing: Pack) -> None:
    text = typescript(marketing)
    body = text.split("export interface EventMap {")[1].split("}")[0]
    mapped = dict(re.findall(r"^  (\w+): (\w+);$", body, re.M))
    assert set(mapped) == set(marketing.events)
    assert len(set(mapped.values())) == len(mapped)
    for name in mapped.values():
        assert f"export interface {name} {{" in text
    assert text.count("{") == text.count("}")


def test_typescript_tells_required_from_optional_and_enums_from_open_text(marketing: Pack) -> None:
    text = typescript(marketing)
    assert "  order_id: string;\n" in text
    assert '  view_type?: "received" | "opened" | "clicked_cta" | null;\n' in text
    assert '"roas" | "ctr" | "ltv" | (string & {});' in text
    assert "  filters_applied?: Record<string, unknown> | null;\n" in text
    assert 'export type Source = "mobile" | "admin_portal" | "backend";' in text


def test_typescript_writes_nested_objects_and_arrays(tiny: Pack) -> None:
    text = typescript(tiny)
    assert "  tags?: Array<string> | null;\n" in text
    assert "    sides: number;\n" in text
    assert "  weight?: number | string | null;\n" in text


def test_page_of_documentation_is_the_one_the_packs_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_docs(shipped_packs())


def test_page_shows_every_event_with_a_valid_example(marketing: Pack, checker: Validator) -> None:
    page = render_docs({"marketing": marketing})
    examples = [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", page, re.S)]
    assert {event["event_type"] for event in examples} == set(marketing.events)
    assert all(isinstance(checker.validate(event, received_at=NOW), dict) for event in examples)


def test_the_pack_that_the_page_shows_loads(tmp_path: Path) -> None:
    path = tmp_path / "garden.yaml"
    path.write_text(OWN_PACK)
    assert set(load_pack(path).events) == {"plant_sold"}
    assert OWN_PACK in render_docs({})
