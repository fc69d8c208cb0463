"""Dead letters in the warehouse: what was rejected (`rejected_events`), what was done about it (`dead_letter_state`).

Reads both. Writes states: one row for each letter that was tried, which replaces the row before. Raises what the
warehouse raises.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import msgspec

from schemas.dead_letters import query
from schemas.dead_letters.query import Key, Query
from schemas.dead_letters.selection import Selection, State, id_of
from schemas.wire import encode_lines

PAGE: Final = 5_000
"""Letters whose keys are read at once, at most."""
BATCH: Final = 500
BATCH_BYTES: Final = 16 << 20
"""Letters whose originals are read at once, and their bytes, about; one is read whatever its size (1.4 MB at most)."""
_IDS_AT_ONCE: Final = 5000


class Warehouse(Protocol):
    """The part of `sinks.warehouse.Warehouse` that is needed."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]: ...

    def insert_lines(self, table: str, ndjson: bytes) -> None: ...


class StateRow(msgspec.Struct, frozen=True):
    """A row of `dead_letter_state`. `reason`, `field`, `message`: the verdict of this try; empty when accepted."""

    tenant: str
    received_at: float
    chunk: int
    index: int
    state: str
    reason: str
    field: str
    message: str
    event_id: str
    patch: str
    replay_id: str
    actor: str
    at: float
    version: int


@dataclass(frozen=True)
class Letter:
    """One dead letter. Times: Unix seconds. `original`: its bytes, once they were read. `last`: the last try's row."""

    tenant: str
    received_at: float
    reason: str
    field: str
    message: str
    key_id: str
    chunk: int
    index: int
    event_id: str
    event_type: str
    size: int
    state: State
    last: Mapping[str, Any]
    original: bytes = b""

    @property
    def id(self) -> str:
        """As listings show it."""
        return id_of(self.chunk, self.index)

    @property
    def key(self) -> Key:
        """What no other letter shares."""
        return self.tenant, self.received_at, self.chunk, self.index


class LetterStore:
    """Reads letters and writes states. Every call blocks."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def page(
        self, selection: Selection, *, limit: int = PAGE, after: Key | None = None, newest_first: bool = False
    ) -> list[Letter]:
        """Letters in order of receipt, from `after` on, without their originals."""
        rows = self._rows(query.page(selection, limit=limit, after=after, newest_first=newest_first))
        return [_letter(row) for row in rows]

    def batches(self, selection: Selection, *, limit: int | None = None) -> Iterator[list[Letter]]:
        """All letters with their originals, oldest first, in batches that fit into memory."""
        after: Key | None = None
        left = limit
        while left is None or left > 0:
            found = self.page(selection, limit=PAGE if left is None else min(PAGE, left), after=after)
            if not found:
                return
            after = found[-1].key
            left = None if left is None else left - len(found)
            for part in _by_size(found):
                yield self.with_originals(part)

    def with_originals(self, letters: Sequence[Letter]) -> list[Letter]:
        """The same letters with their bytes."""
        found: dict[Key, bytes] = {}
        for tenant in sorted({letter.tenant for letter in letters}):
            keys = [letter.key for letter in letters if letter.tenant == tenant]
            for row in self._rows(query.originals(tenant, keys)):
                key = (tenant, int(row["received_ms"]) / 1000, int(row["chunk"]), int(row["index"]))
                found[key] = original_bytes(row["original"], row["encoding"])
        return [replace(letter, original=found.get(letter.key, b"")) for letter in letters]

    def groups(self, selection: Selection, limit: int = 100) -> list[dict[str, Any]]:
        """Counts by reason, field and event type, each with an example."""
        return [group_object(row) for row in self._rows(query.groups(selection, limit=limit))]

    def counts(self, selection: Selection) -> dict[str, Counter[tuple[str, str]]]:
        """By tenant: how many there are of each (state, reason)."""
        found: dict[str, Counter[tuple[str, str]]] = {}
        for row in self._rows(query.counts(selection)):
            found.setdefault(row["tenant"], Counter())[row["state"], row["reason"]] = int(row["n"])
        return found

    def stored(self, tenant: str, event_ids: Sequence[str]) -> set[str]:
        """Those ids that the tenant's stored events have."""
        found: set[str] = set()
        for start in range(0, len(event_ids), _IDS_AT_ONCE):
            rows = self._rows(query.stored_ids(tenant, list(event_ids[start : start + _IDS_AT_ONCE])))
            found.update(str(row["event_id"]) for row in rows)
        return found

    def record(self, rows: Sequence[StateRow]) -> None:
        """Remember what was done."""
        if rows:
            self._warehouse.insert_lines("dead_letter_state", encode_lines(rows))

    def _rows(self, asked: Query) -> list[dict[str, Any]]:
        return self._warehouse.query(asked.sql, asked.params)


def original_bytes(text: str, encoding: str) -> bytes:
    """The bytes of an original as the table keeps it."""
    if encoding != "base64":
        return text.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return text.encode()


def group_object(row: Mapping[str, Any]) -> dict[str, Any]:
    """A group as listings show it."""
    return {
        "reason": row["reason"],
        "field": row["field"],
        "event_type": row["event_type"],
        "count": int(row["n"]),
        "open": int(row["open"]),
        "first_at": int(row["first_ms"]) / 1000,
        "last_at": int(row["last_ms"]) / 1000,
        "keys": int(row["keys"]),
        "example": {"id": id_of(int(row["chunk"]), int(row["example"])), "message": row["message"]},
    }


def _letter(row: Mapping[str, Any]) -> Letter:
    state = State(row["state"])
    last = {name.removeprefix("last_"): value for name, value in row.items() if name.startswith("last_")}
    return Letter(
        tenant=row["tenant"],
        reason=row["reason"],
        field=row["field"],
        message=row["message"],
        key_id=row["key_id"],
        event_id=row["event_id"],
        event_type=row["event_type"],
        received_at=int(row["received_ms"]) / 1000,
        chunk=int(row["chunk"]),
        index=int(row["index"]),
        size=int(row["size"]),
        state=state,
        last={} if state is State.WAITING else {**last, "at": int(last["ms"]) / 1000},
    )


def _by_size(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    batch: list[Letter] = []
    size = 0
    for letter in letters:
        if batch and (len(batch) == BATCH or size + letter.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(letter)
        size += letter.size
    if batch:
        yield batch
