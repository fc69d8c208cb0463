"""From raw lines to events: NDJSON, or CSV through a mapping. What cannot be read becomes a `Faulty`, never a crash."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO, Final, TypeVar
from uuid import UUID, uuid5

import orjson

from deploy.backfill.mapping import Mapping, RowError
from deploy.backfill.source import MAX_LINE, lines_of
from ingest.decode import Faulty, decode_carefully
from ingest.refusals import Refusal
from schemas.errors import ConfigError
from schemas.reasons import Reason

T = TypeVar("T")
NAMESPACE: Final = UUID("5d6f5b0e-0c52-5a37-9a4e-2b1f3f6d7a90")
"""Of derived event ids. Never change it: a file that was sent before would be stored again."""

_BOM: Final = b"\xef\xbb\xbf"


def batches(events: Iterable[T], size: int) -> Iterator[list[T]]:
    """Events, `size` at a time."""
    left = iter(events)
    while batch := list(islice(left, size)):
        yield batch


def decoded(blocks: Iterator[list[bytes]], size: int, *, derive_ids: bool = False) -> Iterator[list[object]]:
    """Events of NDJSON lines, at most `size` at a time, blocks not joined.

    `derive_ids`: an event without `event_id` gets one made from its line, so equal lines get equal ids.
    """
    for lines in blocks:
        for start in range(0, len(lines), size):
            part = lines[start : start + size]
            try:
                events = [orjson.loads(line) for line in part]
            except orjson.JSONDecodeError:
                events = [_read(line.removeprefix(_BOM)) for line in part]
            if derive_ids:
                _derive(events, part)
            yield events


def _derive(events: list[Any], lines: list[bytes]) -> None:
    for event, line in zip(events, lines, strict=True):
        if isinstance(event, dict) and event.get("event_id") is None:
            event["event_id"] = str(uuid5(NAMESPACE, line.strip().hex()))


def _read(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    if len(line) > MAX_LINE:
        return Faulty(Reason.EVENT_TOO_LARGE, "", f"the line is longer than {MAX_LINE} bytes", line[:1000])
    try:
        return decode_carefully(line, lines=True, limit=1)[0]
    except Refusal as refusal:
        return Faulty(Reason.UNREADABLE_BODY, "", refusal.message, line)


def mapped_csv(stream: BinaryIO, name: str, mapping: Mapping) -> Iterator[object]:
    """One event a row, as the mapping says; raises `ConfigError` when the header lacks a column that it names."""
    text = (line.decode("utf-8", "surrogateescape") for lines in lines_of(stream, name) for line in lines)
    rows = csv.reader((line.removeprefix("\ufeff") for line in text), delimiter=mapping.delimiter)
    header = mapping.columns or next(rows, [])
    missing = sorted(mapping.needed() - set(header))
    if missing:
        raise ConfigError(f"has no column {missing[0]!r}; it has: {', '.join(header)}", file=name)
    for number, row in enumerate(rows, 1):
        yield _mapped(mapping, dict(zip(header, row, strict=False)), number, len(row) == len(header))


def _mapped(mapping: Mapping, row: dict[str, str], number: int, complete: bool) -> object:
    original = orjson.dumps({key: value.encode("utf-8", "replace").decode() for key, value in row.items()})
    if not complete:
        message = f"row {number} has another number of columns than the header"
        return Faulty(Reason.UNREADABLE_BODY, "", message, original)
    try:
        return mapping.event(row, number)
    except RowError as error:
        return Faulty(Reason.WRONG_TYPE, error.field, f"row {number}: {error}", original)
