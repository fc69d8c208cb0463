"""The part of JSON Schema that exports use, as a checker: enough to hold an export against events."""

from __future__ import annotations

import re
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def valid(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether `value` satisfies `schema`."""
    if "$ref" in schema:
        return valid(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    return (
        _type_fits(value, schema)
        and ("enum" not in schema or value in schema["enum"])
        and ("const" not in schema or value == schema["const"])
        and _text_fits(value, schema)
        and _number_fits(value, schema)
        and _object_fits(value, schema, root)
        and _branches_fit(value, schema, root)
    )


def _type_fits(value: Any, schema: dict[str, Any]) -> bool:
    wanted = schema.get("type", [])
    return "type" not in schema or any(_is(value, name) for name in ([wanted] if isinstance(wanted, str) else wanted))


def _is(value: Any, name: str) -> bool:
    if name == "integer":
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _text_fits(value: Any, schema: dict[str, Any]) -> bool:
    if not isinstance(value, str):
        return True
    return (
        schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9)
        and re.search(schema.get("pattern", ""), value) is not None
    )


def _number_fits(value: Any, schema: dict[str, Any]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return schema.get("minimum", value) <= value <= schema.get("maximum", value)


def _object_fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    if isinstance(value, list):
        return all(valid(item, schema.get("items", {}), root) for item in value)
    if not isinstance(value, dict):
        return True
    return all(name in value for name in schema.get("required", [])) and all(
        valid(value[name], inner, root) for name, inner in schema.get("properties", {}).items() if name in value
    )


def _branches_fit(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    if "anyOf" in schema and not any(valid(value, branch, root) for branch in schema["anyOf"]):
        return False
    if "if" in schema and valid(value, schema["if"], root) and not valid(value, schema["then"], root):
        return False
    return all(valid(value, branch, root) for branch in schema.get("allOf", []))
