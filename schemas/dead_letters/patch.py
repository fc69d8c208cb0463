"""A patch: a small declarative mapping that mends events, written in YAML or JSON.

    patch:
      - where: {event_type: user_purchased}
        rename: {properties.campaignId: properties.campaign_id}
      - replace: {properties.view_type: {open: opened, click: clicked_cta}}
      - cast: {properties.order_value: number}

Steps run in order, each is one operation. A step whose `where` does not hold, or whose place is not there, changes
nothing; whether the event is right afterwards is for the validator to say. `raw` works on the text before it is read as
JSON, all others on the value. Literals only: no pattern can be slow.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.dead_letters.casts import CASTS, Shift, shifted
from schemas.dead_letters.paths import EVERY, parse, places

MAX_STEPS: Final = 100
MAX_ENTRIES: Final = 1000
MAX_EVENT: Final = 1_000_000
_FIELDS: Final[Mapping[str, str]] = {"copy": "copy_"}
OPERATIONS: Final = ("raw", "set", "default", "rename", "copy", "remove", "replace", "cast", "shift")


def _path(text: str) -> str:
    parse(text)
    return text


def _single(text: str) -> str:
    if EVERY in parse(text):
        raise ValueError(f"{text!r}: * cannot stand here; name one place")
    return text


def _settable(text: str) -> str:
    if parse(text) == ("event_id",):
        raise ValueError("all events would get the same event_id, and count as one; remove it to get one made for each")
    return _path(text)


Anywhere = Annotated[str, Field(max_length=500), AfterValidator(_path)]
Somewhere = Annotated[str, Field(max_length=500), AfterValidator(_single)]
Settable = Annotated[str, Field(max_length=500), AfterValidator(_settable)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Substitution(_Strict):
    """Text to find in the original, and what to put in its place, everywhere."""

    find: Annotated[str, Field(min_length=1, max_length=10_000)]
    replace: Annotated[str, Field(max_length=10_000)] = ""


class Condition(_Strict):
    """What must hold at a path. Given together, all must hold."""

    exists: bool | None = None
    is_: Annotated[Any, Field(alias="is")] = None
    in_: Annotated[list[Any] | None, Field(alias="in", max_length=MAX_ENTRIES)] = None
    starts_with: Annotated[str | None, Field(max_length=1000)] = None
    contains: Annotated[str | None, Field(max_length=1000)] = None

    def holds(self, found: bool, value: Any) -> bool:
        """Whether it holds for a place; `found`: a value stands there."""
        text = value if isinstance(value, str) else None
        return (
            (self.exists is None or self.exists == found)
            and ("is_" not in self.model_fields_set or (found and same(value, self.is_)))
            and (self.in_ is None or (found and any(same(value, one) for one in self.in_)))
            and (self.starts_with is None or (text is not None and text.startswith(self.starts_with)))
            and (self.contains is None or (text is not None and self.contains in text))
        )


class Step(_Strict):
    """One operation, and for which events. A value in `where` is what must stand there; or a condition."""

    where: Annotated[dict[Anywhere, Condition], Field(max_length=50)] = Field(default_factory=dict)
    raw: Annotated[list[Substitution] | None, Field(max_length=MAX_ENTRIES)] = None
    set: Annotated[dict[Settable, Any] | None, Field(max_length=MAX_ENTRIES)] = None
    default: Annotated[dict[Settable, Any] | None, Field(max_length=MAX_ENTRIES)] = None
    rename: Annotated[dict[Somewhere, Somewhere] | None, Field(max_length=MAX_ENTRIES)] = None
    copy_: Annotated[dict[Somewhere, Somewhere] | None, Field(alias="copy", max_length=MAX_ENTRIES)] = None
    remove: Annotated[list[Anywhere] | None, Field(max_length=MAX_ENTRIES)] = None
    replace: Annotated[dict[Anywhere, dict[str, Any]] | None, Field(max_length=MAX_ENTRIES)] = None
    cast: dict[Anywhere, Literal["string", "int", "number", "bool"]] | None = None
    shift: dict[Anywhere, Shift] | None = None

    @model_validator(mode="before")
    @classmethod
    def _conditions(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("where"), dict):
            where = value["where"].items()
            return {**value, "where": {path: one if isinstance(one, dict) else {"is": one} for path, one in where}}
        return value

    @model_validator(mode="after")
    def _one_operation(self) -> Step:
        given = [name for name in OPERATIONS if getattr(self, _FIELDS.get(name, name)) is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none"
            raise ValueError(f"write exactly one of {', '.join(OPERATIONS)} in a step, not {said}")
        if self.raw is not None and self.where:
            raise ValueError("raw works on text that is not read as JSON yet: where cannot be asked of it")
        return self

    def apply(self, event: dict[str, Any]) -> None:
        """Change `event` in place, unless `where` does not hold."""
        if all(_holds(event, path, wanted) for path, wanted in self.where.items()):
            for operation in (_set, _default, _rename, _copy, _remove, _replace, _cast, _shift):
                operation(self, event)


class Patch(_Strict):
    """The steps, in order."""

    patch: Annotated[list[Step], Field(max_length=MAX_STEPS)] = Field(default_factory=list)

    @property
    def digest(self) -> str:
        """SHA-256 of what the patch says, hex; "" when it says nothing. Two files that say the same share it."""
        if not self.patch:
            return ""
        plain = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def on_text(self, text: str) -> str:
        """The original with the `raw` steps applied; cut short where they would blow it up."""
        for step in self.patch:
            for one in step.raw or ():
                if len(text) + text.count(one.find) * (len(one.replace) - len(one.find)) <= MAX_EVENT:
                    text = text.replace(one.find, one.replace)
        return text

    def on_event(self, event: dict[str, Any]) -> None:
        """Change an event in place. Raises RecursionError for one that is nested beyond all limits on events."""
        for step in self.patch:
            step.apply(event)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: true is not 1, but 1 is 1.0."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _holds(event: dict[str, Any], path: str, wanted: Condition) -> bool:
    there = [(place.found, place.value) for place in places(event, parse(path))]
    return any(wanted.holds(found, value) for found, value in there or [(False, None)])


def _set(step: Step, event: dict[str, Any]) -> None:
    for path, value in (step.set or {}).items():
        for place in places(event, parse(path), make=True):
            place.put(copy.deepcopy(value))


def _default(step: Step, event: dict[str, Any]) -> None:
    for path, value in (step.default or {}).items():
        for place in places(event, parse(path), make=True):
            if place.value is None:
                place.put(copy.deepcopy(value))


def _rename(step: Step, event: dict[str, Any]) -> None:
    for old, new in (step.rename or {}).items():
        if old != new and _carry(event, old, new):
            for place in places(event, parse(old)):
                place.take_out()


def _copy(step: Step, event: dict[str, Any]) -> None:
    for old, new in (step.copy_ or {}).items():
        _carry(event, old, new)


def _carry(event: dict[str, Any], old: str, new: str) -> bool:
    """Put the value at `old` also at `new`; False when there is none, or no room for it."""
    source = next((place for place in places(event, parse(old)) if place.found), None)
    if source is None:
        return False
    value = copy.deepcopy(source.value)
    target = next(places(event, parse(new), make=True), None)
    if target is None:
        return False
    target.put(value)
    return True


def _remove(step: Step, event: dict[str, Any]) -> None:
    for path in step.remove or ():
        for place in reversed([one for one in places(event, parse(path)) if one.found]):
            place.take_out()


def _replace(step: Step, event: dict[str, Any]) -> None:
    for path, table in (step.replace or {}).items():
        for place in places(event, parse(path)):
            if place.found and (key := _as_key(place.value)) in table:
                place.put(copy.deepcopy(table[key]))


def _as_key(value: Any) -> str:
    """How a value is written on the left side of `replace`: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _cast(step: Step, event: dict[str, Any]) -> None:
    for path, kind in (step.cast or {}).items():
        for place in places(event, parse(path)):
            if place.value is not None:
                place.put(CASTS[kind](place.value))


def _shift(step: Step, event: dict[str, Any]) -> None:
    for path, seconds in (step.shift or {}).items():
        for place in places(event, parse(path)):
            if place.found:
                place.put(shifted(place.value, seconds))
