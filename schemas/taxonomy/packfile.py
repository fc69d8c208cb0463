"""The pack file, as pydantic models: what a user writes in YAML. `schemas.taxonomy.pack` holds what it becomes."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from schemas.taxonomy.yamlfile import hint

TypeName = Literal["string", "uuid", "int", "float", "bool", "timestamp", "object", "array"]
Column = Literal["campaign_id", "creative_id", "order_id", "segment", "channel", "subtype", "is_holdout", "amount"]

ROLES = {
    "purchase": "a customer bought; one per order",
    "conversion": "a purchase that a campaign claims",
    "impression": "something was delivered to a user",
    "sent": "a message was sent",
    "open": "the user opened what was delivered",
    "message_open": "the user opened a message",
    "click": "the user followed a link",
    "spend": "money spent on acquisition",
    "cost": "what an order cost us",
    "refund": "money given back for an order",
    "budget": "a budget was set or moved",
    "activity": "a sign of life of the user",
    "session_start": "a session began",
    "signup": "the user joined",
    "unsubscribe": "the user opted out of some messages",
    "unsubscribe_all": "the user opted out of every message",
    "consent": "the user gave or withdrew consent",
    "segment": "the user moved into a segment",
    "audit": "a person changed something",
    "system": "the pipeline reports about itself",
}
"""What a pack may say about its events; metrics, processors and models ask for roles, never for event names."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DURATION = re.compile(r"(\d+)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be lower_snake_case, start with a letter and have at most 64 characters")
    return value


def _role(value: str) -> str:
    if value not in ROLES:
        raise ValueError("is not a known role" + (hint(value, ROLES) or f"; known: {', '.join(ROLES)}"))
    return value


def _duration(value: object) -> float:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a duration such as 10s, 5m, 4h or 1d")
    return int(match[1]) * _SECONDS[match[2]]


Name = Annotated[str, AfterValidator(_name)]
Role = Annotated[str, AfterValidator(_role)]
Duration = Annotated[float, BeforeValidator(_duration)]
Version = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PropertyFile(_Strict):
    """One property. `nullable` defaults to "not required"; `enum` and `known` name a list of `enums` or give one."""

    type: TypeName | list[TypeName]
    description: Text
    required: bool = False
    nullable: bool | None = None
    enum: Name | Annotated[list[Text], Field(min_length=1)] | None = None
    known: Name | Annotated[list[Text], Field(min_length=1)] | None = None
    min: int | float | None = None
    max: int | float | None = None
    max_length: Annotated[int, Field(ge=1, le=8192)] | None = None
    unit: Text | None = None
    personal: bool = False
    column: Column | Literal[True] | None = None
    properties: dict[Name, PropertyFile] | None = None
    items: PropertyFile | None = None


class FreshnessFile(_Strict):
    """How soon events should arrive: 95 % within `target`, 99 % within `acceptable`, all within `grace`."""

    target: Duration
    acceptable: Duration
    grace: Duration


class VolumeFile(_Strict):
    """Expected events a day; no `max` means open-ended."""

    min: Annotated[int, Field(ge=0)]
    max: Annotated[int, Field(ge=0)] | None = None


class EventFile(_Strict):
    """One event type. `sources`: who usually sends it (any source of the pack is accepted)."""

    group: Text
    description: Text
    owner: Text
    sources: Annotated[list[str], Field(min_length=1)]
    frequency: Text
    volume: VolumeFile
    freshness: Name
    gates: list[Text] = []
    properties: dict[Name, PropertyFile]


class PackFile(_Strict):
    """A whole pack file. `versions`: older versions that events may still name."""

    pack: Name
    version: Version
    versions: list[Version] = []
    title: Text
    description: Text
    sources: Annotated[list[Name], Field(min_length=1)]
    enums: dict[Name, Annotated[list[Text], Field(min_length=1)]] = {}
    freshness: Annotated[dict[Name, FreshnessFile], Field(min_length=1)]
    context: dict[Name, PropertyFile]
    events: Annotated[dict[Name, EventFile], Field(min_length=1)]
    roles: dict[Role, Annotated[list[str], Field(min_length=1)]] = {}
