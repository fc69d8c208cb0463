"""One compiled pydantic validator per event type. Built once at start; runs in pydantic's core, without Python code.

Strict: text is never read as a number, and a bool is not an int. Two kindnesses that clients need (`3.0` for an int,
a number for a user id) are applied by `schemas.taxonomy.validator` when strict validation failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import CoreSchema, SchemaValidator, core_schema

from schemas.taxonomy.pack import MAX_FLOAT, MAX_ID, MAX_INT, Event, Pack, Property
from schemas.taxonomy.times import to_iso, to_unix

UUID_PATTERN: Final = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
NOT_BLANK: Final = r"\S"
ENVELOPE: Final = (
    "event_id",
    "event_type",
    "timestamp",
    "user_id",
    "session_id",
    "source",
    "version",
    "properties",
    "context",
)
MAX_ITEMS: Final = 10_000
_USUAL_TIME: Final = (
    "^(19[7-9][0-9]|20[0-9][0-9])-"
    "((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
    "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$"
)


def compile_event(pack: Pack, event: Event) -> SchemaValidator:
    """The validator of a whole event: envelope, properties and context. Its output is a fresh dict."""
    identifier = core_schema.str_schema(strict=True, max_length=MAX_ID, pattern=NOT_BLANK)
    optional_id = core_schema.nullable_schema(core_schema.str_schema(strict=True, max_length=MAX_ID))
    required, optional = core_schema.typed_dict_field, _optional
    return SchemaValidator(
        core_schema.typed_dict_schema(
            {
                "event_id": required(identifier),
                "user_id": required(identifier),
                "timestamp": required(core_schema.any_schema()),
                "source": required(core_schema.literal_schema(list(pack.sources))),
                "event_type": required(core_schema.str_schema(strict=True)),
                "session_id": optional(optional_id),
                "version": optional(core_schema.any_schema()),
                "properties": required(_object(event.properties)),
                "context": optional(core_schema.nullable_schema(_object(pack.context))),
            },
            extra_behavior="allow",
        )
    )


def _optional(schema: CoreSchema) -> core_schema.TypedDictField:
    return core_schema.typed_dict_field(schema, required=False)


def _object(properties: Mapping[str, Property]) -> CoreSchema:
    fields = {
        name: core_schema.typed_dict_field(_property(prop), required=prop.required) for name, prop in properties.items()
    }
    return core_schema.typed_dict_schema(fields, extra_behavior="allow")


def _property(prop: Property) -> CoreSchema:
    branches = [_typed(kind, prop) for kind in prop.types]
    if len(branches) > 1:
        schema: CoreSchema = core_schema.union_schema(
            list(branches),
            mode="left_to_right",
            custom_error_type="several_types",
            custom_error_message="none of the types fits",
        )
    else:
        schema = branches[0]
    return core_schema.nullable_schema(schema) if prop.nullable else schema


def _typed(kind: str, prop: Property) -> CoreSchema:
    schema: CoreSchema
    match kind:
        case "string" if prop.enum:
            schema = core_schema.literal_schema(list(prop.enum))
        case "string":
            schema = core_schema.str_schema(strict=True, max_length=prop.max_length)
        case "uuid":
            schema = core_schema.str_schema(strict=True, pattern=UUID_PATTERN, to_lower=True)
        case "int":
            schema = core_schema.int_schema(strict=True, ge=_whole(prop.min, -MAX_INT), le=_whole(prop.max, MAX_INT))
        case "float":
            schema = _float(prop.min, prop.max)
        case "bool":
            schema = core_schema.bool_schema(strict=True)
        case "timestamp":
            schema = _timestamp()
        case "object":
            schema = _object(prop.properties)
        case _:
            items = _property(prop.items) if prop.items else None
            schema = core_schema.list_schema(items, strict=True, max_length=MAX_ITEMS)
    return schema


def _whole(bound: float | None, default: int) -> int:
    return default if bound is None else int(bound)


def _float(low: float | None, high: float | None) -> CoreSchema:
    """Finite, within the bounds, and below 2**70 in size (where ClickHouse's integers and sums end)."""
    return core_schema.float_schema(
        strict=True,
        allow_inf_nan=False,
        ge=low,
        le=high,
        gt=-MAX_FLOAT if low is None else None,
        lt=MAX_FLOAT if high is None else None,
    )


def _timestamp() -> CoreSchema:
    """A time within a property. The pattern settles the usual spelling without leaving the core; the 29th of
    February, other spellings and numbers go to `_read_time`."""
    usual = core_schema.str_schema(strict=True, pattern=_USUAL_TIME)
    other = core_schema.no_info_plain_validator_function(_read_time)
    return core_schema.union_schema(
        [usual, other], mode="left_to_right", custom_error_type="timestamp", custom_error_message="not a time"
    )


def _read_time(value: Any) -> str:
    """Text is kept as sent, a number becomes ISO-8601 text."""
    seconds = to_unix(value)
    if seconds is None:
        raise ValueError("not a time")
    if isinstance(value, str):
        return value
    try:
        return to_iso(seconds)
    except OverflowError:
        raise ValueError("not a time") from None
