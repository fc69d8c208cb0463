"""From raw lines to events: NDJSON, or CSV through a mapping. What cannot be read becomes a `Faulty`, never a crash."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID, uuid5

import orjson

from deploy.backfill.mapping import Mapping, RowError
from deploy.backfill.source import MAX_LINE, Progress, lines_of
from ingest.decode import Faulty, decode_carefully
from ingest.refusals import Refusal
from schemas.errors import ConfigError
from schemas.reasons import Reason

NAMESPACE: Final = UUID("5d6f5b0e-0c52-5a37-9a4e-2b1f3f6d7a90")
"""Of derived event ids. Never change it: a file that was sent before would be stored again."""

_BOM: Final = b"\xef\xbb\xbf"


def batches(events: Iterator[object], size: int) -> Iterator[list[object]]:
    """Events, `size` at a time."""
    while batch := list(islice(events, size)):
        yield batch


def ndjson(stream: BinaryIO, name: str, *, derive_ids: bool = False) -> Iterator[object]:
    """One event a line. `derive_ids`: an event without `event_id` gets one from its line; equal lines get equal ids."""
    first = True
    for lines in lines_of(stream, name):
        if first and lines:
            lines[0], first = lines[0].removeprefix(_BOM), False
        for line in lines:
            event = _read(line)
            if derive_ids and isinstance(event, dict) and not event.get("event_id"):
                event["event_id"] = str(uuid5(NAMESPACE, line.strip().hex()))
            yield event


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


def events_of(stream: BinaryIO, path: Path, mapping: Mapping | None, *, derive_ids: bool) -> Iterator[object]:
    """The events of an opened file: CSV when a mapping is given, else NDJSON."""
    if mapping is not None:
        return mapped_csv(stream, str(path), mapping)
    return ndjson(stream, str(path), derive_ids=derive_ids)


__all__ = ["Progress", "batches", "events_of", "mapped_csv", "ndjson"]
