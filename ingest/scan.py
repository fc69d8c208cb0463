"""Find where the items of a JSON text begin and end, without parsing them.

Used only on bodies that the parser refused as a whole, so that one bad event costs no other. It looks at quotes,
brackets and commas alone; so broken UTF-8, `NaN` and nesting of any depth do not disturb it. Strings and everything
between two brackets are skipped by one regular expression without backtracking: the work grows with the size alone.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_SKIP: Final = rb'(?:[^"\[\]{}%s]++|"(?:[^"\\]++|\\.)*+")*+'
_BRACKETS: Final = re.compile(_SKIP % b"" + rb"([\[{]++|[\]}]++)", re.DOTALL)
_BRACKET_OR_COMMA: Final = re.compile(_SKIP % b"," + rb"([\[\]{},])", re.DOTALL)
_NAME: Final = re.compile(rb'\s*"((?:[^"\\]++|\\.)*+)"\s*:\s*', re.DOTALL)


class Items(NamedTuple):
    """The items of one array or object: their bytes, and where the text goes on after the closing bracket."""

    parts: list[bytes]
    end: int


def skip_space(body: bytes, start: int = 0) -> int:
    """The position of the first byte at or after `start` that is not white space."""
    while start < len(body) and body[start] in b" \t\r\n":
        start += 1
    return start


def split_items(body: bytes, start: int, limit: int) -> Items | None:
    """The comma-separated items of the array or object that opens at `start`; None where it never closes.

    Stops after `limit` + 1 items, so that the caller sees that there are too many.
    """
    parts: list[bytes] = []
    position = begin = start + 1
    while match := _BRACKET_OR_COMMA.match(body, position):
        position = match.end()
        mark = match[1]
        if mark in b"[{":
            inside = _closing(body, position)
            if inside is None:
                return None
            position = inside
            continue
        parts.append(body[begin : position - 1])
        begin = position
        if mark in b"]}" or len(parts) > limit:
            return Items(_without_blank_only(parts), position)
    return None


def named_item(parts: list[bytes], name: bytes) -> bytes | None:
    """The value of the last member called `name` among the items of an object."""
    found = None
    for part in parts:
        match = _NAME.match(part)
        if match and match[1] == name:
            found = part[match.end() :]
    return found


def _closing(body: bytes, position: int) -> int | None:
    """Where the bracket that opened just before `position` is closed; brackets in a row are taken at once."""
    depth = 1
    while match := _BRACKETS.match(body, position):
        position = match.end()
        run = position - match.start(1)
        if body[match.start(1)] in b"[{":
            depth += run
        elif depth > run:
            depth -= run
        else:
            return match.start(1) + depth
    return None


def _without_blank_only(parts: list[bytes]) -> list[bytes]:
    return [] if len(parts) == 1 and not parts[0].strip() else parts
