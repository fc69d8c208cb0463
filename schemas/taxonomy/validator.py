"""One event against one pack: the line to store, or the reason why not. No I/O, never raises, whatever comes.

Order of the checks: shape, event type, envelope and properties (pydantic), content of undeclared values, time, version.
Kind readings, documented in docs/taxonomy.md: a number as `event_id`, `user_id` or `session_id` becomes text, `3.0` is
a whole number, absent `properties` are empty, UUIDs are stored in lower case.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import orjson
from pydantic_core import ErrorDetails, ValidationError

from schemas.reasons import Reason
from schemas.taxonomy.compile import ENVELOPE, compile_event
from schemas.taxonomy.faults import IDS, TIME_WANTED, Fault, clean_text, content_fault, from_pydantic, json_type
from schemas.taxonomy.pack import MAX_ID, MAX_INT, Event, Pack
from schemas.taxonomy.times import to_unix
from schemas.taxonomy.yamlfile import hint
from schemas.wire import MICROS

MAX_FUTURE_SECONDS: Final = 300.0
MAX_AGE_SECONDS: Final = 30 * 86400.0
MAX_EXTRA: Final = 65535
_TOLERANCE: Final = 0.0005
"""Half a millisecond: times are kept in milliseconds, so exactly 5 minutes ahead is still accepted."""
_ENVELOPE: Final = frozenset(ENVELOPE)
_NUL: Final = b"\\u0000"


class Rejection(NamedTuple):
    """Why an event was not accepted. `field` is a dotted path; ids are as sent where they are text, else ""."""

    reason: Reason
    field: str
    message: str
    event_id: str
    event_type: str


class Validator:
    """Validates events of one pack. Compiled once; safe to share between threads."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self._plans = {name: _Plan(pack, event) for name, event in pack.events.items()}

    def validate(self, event: object, *, received_at: float, backfill: bool = False) -> dict[str, Any] | Rejection:
        """The line of `event` (without tenant, slot, chunk and key_id, which the caller adds), or its `Rejection`.

        `received_at`: Unix seconds. `backfill`: the event may be older than 30 days.
        """
        try:
            plan = self._plans[event["event_type"]]  # type: ignore[index]
            out = plan.validate(event)
        except (KeyError, TypeError, ValidationError):
            return self._second_reading(event, received_at, backfill)
        line = plan.line(out, received_at, backfill)
        return _reject(line, event) if isinstance(line, Fault) else line

    def _second_reading(self, event: object, received_at: float, backfill: bool) -> dict[str, Any] | Rejection:
        """The slow path: apply the kind readings and try again, or say what is wrong."""
        fault = self._envelope_fault(event)
        if fault is not None or not isinstance(event, dict):
            return _reject(fault, event)
        plan = self._plans[event["event_type"]]
        mended = _mend_envelope(event)
        try:
            try:
                out = plan.validate(mended)
            except ValidationError as error:
                out = plan.validate(_mend_numbers(mended, error.errors(include_url=False)))
        except ValidationError as error:
            return _reject(from_pydantic(error.errors(include_url=False)[0], self.pack, plan.event), event)
        line = plan.line(out, received_at, backfill)
        return _reject(line, event) if isinstance(line, Fault) else line

    def _envelope_fault(self, event: object) -> Fault | None:
        if not isinstance(event, dict):
            return Fault(Reason.NOT_AN_OBJECT, "", f"an event must be an object, not {json_type(event)}")
        event_type = event.get("event_type")
        if event_type is None:
            return Fault(Reason.MISSING_FIELD, "event_type", "is missing or null; send a value")
        if not isinstance(event_type, str):
            return Fault(Reason.WRONG_TYPE, "event_type", f"must be text, not {json_type(event_type)}")
        if event_type not in self._plans:
            known = hint(event_type[:64], self._plans) or "; `headrace taxonomy show` lists its event types"
            return Fault(Reason.UNKNOWN_EVENT_TYPE, "event_type", f"is not in pack {self.pack.name!r}{known}")
        return None


class _Plan:
    """What to check and what to copy for one event type."""

    __slots__ = (
        "_amount",
        "_context",
        "_context_columns",
        "_declared",
        "_deep",
        "_flags",
        "_p_times",
        "_pack",
        "_texts",
        "event",
        "validate",
    )

    def __init__(self, pack: Pack, event: Event) -> None:
        self._pack = pack
        self.event = event
        self.validate = compile_event(pack, event).validate_python
        columns = {p.column: p.name for p in event.properties.values() if isinstance(p.column, str)}
        own = [p for p in event.properties.values() if p.column is True]
        self._amount = columns.pop("amount", "")
        self._flags = columns.pop("is_holdout", "")
        self._texts = (*columns.items(), *((f"p_{p.name}", p.name) for p in own if p.types != ("timestamp",)))
        self._p_times = tuple((f"p_{p.name}", p.name) for p in own if p.types == ("timestamp",))
        self._context_columns = tuple((str(p.column), p.name) for p in pack.context.values() if p.column)
        self._declared, self._context = frozenset(event.properties), frozenset(pack.context)
        self._deep = tuple(p.name for p in event.properties.values() if {"object", "array"} & set(p.types))

    def line(self, out: dict[str, Any], received_at: float, backfill: bool) -> dict[str, Any] | Fault:
        """The line of a validated event, or what pydantic could not see. `out` (pydantic's fresh dict) becomes it."""
        properties, context = out["properties"], out.get("context")
        if context is None:
            context = out["context"] = {}
        extra = self._extra(out, properties, context)
        if isinstance(extra, Fault):
            return extra
        seconds = to_unix(out["timestamp"])
        if seconds is None:
            return _time_fault(out["timestamp"])
        fault = self._refused(out, context, seconds, received_at, backfill)
        if fault is not None:
            return fault
        out["timestamp"] = _milliseconds(seconds)
        out["received_at"] = _milliseconds(received_at)
        out["pack"] = self._pack.name
        out["version"] = out.get("version") or context.get("taxonomy_version") or self._pack.version
        if not out.get("session_id"):
            out.pop("session_id", None)
        if extra:
            out["extra"] = min(extra, MAX_EXTRA)
        if backfill:
            out["backfill"] = True
        self._fill_columns(out, properties, context)
        return out

    def _extra(self, out: dict[str, Any], properties: dict[str, Any], context: dict[str, Any]) -> int | Fault:
        """How many undeclared properties there are (fields beside the envelope move into the context and count too).

        pydantic puts what is declared first, so the last key tells whether there is anything else.
        """
        extra = 0
        if next(reversed(out)) not in _ENVELOPE:
            extra = self._keep_strays(out, context)
        if properties and next(reversed(properties)) not in self._declared:
            undeclared = {name: properties[name] for name in properties.keys() - self._declared}
            extra += len(undeclared)
            if fault := content_fault(undeclared, ("properties",)):
                return fault
        for name in self._deep:
            if name in properties and (fault := content_fault(properties[name], ("properties", name), 1)):
                return fault
        if context and next(reversed(context)) not in self._context and (fault := content_fault(context, ("context",))):
            return fault
        try:
            if _NUL not in orjson.dumps(out):
                return extra
        except TypeError:
            pass
        return _content_fault(out) or extra

    def _keep_strays(self, out: dict[str, Any], context: dict[str, Any]) -> int:
        strays = {name: out.pop(name) for name in out.keys() - _ENVELOPE}
        name = "envelope"
        while name in context:
            name += "_"
        context[name] = strays
        return len(strays)

    def _refused(
        self, out: dict[str, Any], context: dict[str, Any], seconds: float, received_at: float, backfill: bool
    ) -> Fault | None:
        ahead = seconds - received_at
        if ahead > MAX_FUTURE_SECONDS + _TOLERANCE:
            return Fault(Reason.FUTURE_TIMESTAMP, "timestamp", "lies more than 5 minutes in the future; set the clock")
        if (ahead < -MAX_AGE_SECONDS - _TOLERANCE and not backfill) or seconds < 0:
            message = "is older than 30 days; send history with `headrace backfill`"
            return Fault(Reason.TOO_OLD, "timestamp", message if seconds >= 0 else "lies before 1970")
        if "version" in out or "taxonomy_version" in context:
            return self._version_fault(out.get("version"), context.get("taxonomy_version"))
        return None

    def _version_fault(self, version: object, in_context: object) -> Fault | None:
        for field, named in (("version", version), ("context.taxonomy_version", in_context)):
            if named is not None and (not isinstance(named, str) or named not in self._pack.versions):
                accepted = ", ".join(sorted(self._pack.versions))
                return Fault(Reason.UNKNOWN_VERSION, field, f"pack {self._pack.name!r} accepts {accepted}")
        return None

    def _fill_columns(self, line: dict[str, Any], properties: dict[str, Any], context: dict[str, Any]) -> None:
        for column, name in self._texts:
            value = properties.get(name)
            if value is not None:
                line[column] = value
        for column, name in self._context_columns:
            if column not in line and (value := context.get(name)):
                line[column] = value
        if self._amount and (amount := properties.get(self._amount)):
            line["amount_micros"] = round(amount * MICROS)
        if self._flags and properties.get(self._flags):
            line["is_holdout"] = True
        for column, name in self._p_times:
            if (value := properties.get(name)) is not None:
                line[column] = round(to_unix(value) or 0.0, 3)


def _milliseconds(seconds: float) -> float:
    """`seconds` (not negative) to the millisecond; four times as fast as `round(seconds, 3)`."""
    return int(seconds * 1000 + 0.5) / 1000


def _content_fault(out: dict[str, Any]) -> Fault | None:
    """What kept the event from being written, or why it holds the escape of NUL: NUL, surrogates, huge integers."""
    fault = content_fault(out, ())
    if fault is None and _cannot_be_written(out):
        return Fault(Reason.WRONG_TYPE, "", "holds something that JSON does not have")
    return fault


def _cannot_be_written(out: dict[str, Any]) -> bool:
    try:
        orjson.dumps(out)
    except TypeError:
        return True
    return False


def _time_fault(value: object) -> Fault:
    if value is None:
        return Fault(Reason.MISSING_FIELD, "timestamp", "is missing or null; send a value")
    if isinstance(value, float) and not math.isfinite(value):
        return Fault(Reason.NOT_FINITE, "timestamp", "must be a finite number, not NaN or Infinity")
    return Fault(Reason.INVALID_TIMESTAMP, "timestamp", TIME_WANTED)


def _mend_envelope(event: dict[Any, Any]) -> dict[Any, Any]:
    """A copy with numbers as ids turned into text and absent properties made empty."""
    mended = dict(event)
    for name in IDS:
        value = mended.get(name)
        if type(value) is int and abs(value) <= MAX_INT:
            mended[name] = str(value)
    if mended.get("properties") is None:
        mended["properties"] = {}
    return mended


def _mend_numbers(event: dict[Any, Any], faults: list[ErrorDetails]) -> dict[Any, Any]:
    """A copy in which whole floats stand as integers where an integer was wanted."""
    mended = event
    for fault in faults:
        value, loc = fault["input"], fault["loc"]
        if fault["type"] == "int_type" and isinstance(value, float) and value.is_integer() and abs(value) <= MAX_INT:
            mended = _replaced(mended, loc, int(value))
    return mended


def _replaced(node: Any, loc: tuple[int | str, ...], value: object) -> Any:
    """`node` with `value` at `loc`; only the containers on the way are copied."""
    if not loc:
        return value
    copy = node.copy()
    copy[loc[0]] = _replaced(node[loc[0]], loc[1:], value)
    return copy


def _reject(fault: Fault | None, event: object) -> Rejection:
    fields = event if isinstance(event, dict) else {}
    reason, field, message = fault or Fault(Reason.NOT_AN_OBJECT, "", "an event must be an object")
    return Rejection(
        reason, field, message, clean_text(fields.get("event_id"), MAX_ID), clean_text(fields.get("event_type"), MAX_ID)
    )


def validator(pack: Pack) -> Validator:
    """The validator of `pack`."""
    return Validator(pack)
