"""multipart/form-data, as clients send long parameters and external tables to ClickHouse. Pure parsing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from deploy.embedded.statement import BAD_ARGUMENTS, BadRequest, External, closed

_BOUNDARY: Final = re.compile(r'boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)
_NAME: Final = re.compile(rb';\s*name="([^"]*)"', re.IGNORECASE)
_FILE: Final = re.compile(rb";\s*filename\*?=", re.IGNORECASE)
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def parse_form(
    content_type: str, body: bytes, options: Mapping[str, str]
) -> tuple[dict[str, str], tuple[External, ...]]:
    """(options with the text fields added, external tables) of a form. Raises BadRequest when it cannot be read."""
    merged = dict(options)
    files: dict[str, bytes] = {}
    for name, is_file, value in _parts(content_type, body):
        if is_file:
            files[name] = value
        else:
            merged[name] = _decoded(name, value)
    tables = tuple(_external(name, data, merged) for name, data in files.items())
    for name in files:
        for suffix in ("_format", "_structure", "_types"):
            merged.pop(name + suffix, None)
    return merged, tables


def _external(name: str, data: bytes, options: Mapping[str, str]) -> External:
    if not _IDENTIFIER.match(name):
        raise BadRequest(BAD_ARGUMENTS, "BAD_ARGUMENTS", f"external table {name!r}: not an identifier")
    structure = options.get(f"{name}_structure", "")
    if not structure and f"{name}_types" in options:
        types = options[f"{name}_types"].split(",")
        structure = ", ".join(f"_{i} {kind}" for i, kind in enumerate(types, 1))
    if not structure:
        raise BadRequest(BAD_ARGUMENTS, "BAD_ARGUMENTS", f"external table {name!r}: {name}_structure is missing")
    if not closed(structure):
        raise BadRequest(
            BAD_ARGUMENTS, "BAD_ARGUMENTS", f"external table {name!r}: the structure is no list of columns"
        )
    return External(name, structure, options.get(f"{name}_format", "TabSeparated"), data)


def _decoded(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(BAD_ARGUMENTS, "BAD_ARGUMENTS", f"form field {name!r} is not UTF-8: {error}") from error


def _parts(content_type: str, body: bytes) -> Iterator[tuple[str, bool, bytes]]:
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise BadRequest(BAD_ARGUMENTS, "BAD_ARGUMENTS", "multipart/form-data without a boundary")
    fence = b"--" + (match.group(1) or match.group(2)).encode()
    pieces = (b"\r\n" + body).split(b"\r\n" + fence)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise BadRequest(BAD_ARGUMENTS, "BAD_ARGUMENTS", "the multipart/form-data body is cut short")
    for piece in pieces[1:-1]:
        head, _, value = piece.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if name is None:
            raise BadRequest(BAD_ARGUMENTS, "BAD_ARGUMENTS", "a part of the form has no name")
        yield name.group(1).decode("utf-8", "replace"), _FILE.search(head) is not None, value
