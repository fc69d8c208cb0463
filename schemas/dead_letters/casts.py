"""Changing the type of a value, and moving a time. What cannot be changed stays as it is; the validator will say so."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from schemas.taxonomy.times import MILLISECONDS_FROM, to_unix

_SHIFT: Final = re.compile(r"([+-]?)(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TRUE: Final = frozenset({"true", "1", "1.0", "yes"})
_FALSE: Final = frozenset({"false", "0", "0.0", "no"})


def _seconds(value: object) -> float:
    found = _SHIFT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("write a duration such as -1h, 90s or 500ms")
    sign, digits, unit = found.groups()
    return (-1 if sign == "-" else 1) * float(digits) * _UNITS[unit]


Shift = Annotated[float, BeforeValidator(_seconds)]
"""Seconds, written `-1h`, `90s`, `500ms`."""


def shifted(value: Any, seconds: float) -> Any:
    """A time as clients write them, moved by `seconds` and written the same way."""
    if to_unix(value) is None:
        return value
    if isinstance(value, str):
        try:
            return (datetime.fromisoformat(value) + timedelta(seconds=seconds)).isoformat()
        except (ValueError, OverflowError):
            return value
    moved = value + seconds * (1000 if abs(value) >= MILLISECONDS_FROM else 1)
    return round(moved) if isinstance(value, int) and float(moved).is_integer() else moved


def _to_string(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else value


def _to_number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            number = float(value.strip())
        except ValueError:
            return value
        if not math.isfinite(number) or "_" in value:
            return value
        return int(value) if value.strip().lstrip("+-").isdigit() and abs(number) < 2**63 else number
    return value


def _to_int(value: Any) -> Any:
    number = _to_number(value)
    whole = isinstance(number, float) and number.is_integer() and abs(number) < 2**63
    return int(number) if whole else number


def _to_bool(value: Any) -> Any:
    text = value.strip().lower() if isinstance(value, str) else str(value)
    known = isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool))
    return True if known and text in _TRUE else False if known and text in _FALSE else value


CASTS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {"string": _to_string, "int": _to_int, "number": _to_number, "bool": _to_bool}
)
"""By the names that a patch uses."""
