"""The ledger's vocabulary: its stages, and the SQL that finds chunks which no collector has counted.

Chunk ids are `boot << 32 | sequence`, dense for each incarnation (`boot`) of a collector. A collector publishes the
counts of a settled prefix, together with its length, the watermark: all chunks below it were acknowledged and are in
the counts, or were abandoned (never acknowledged, so that Kafka may or may not have them) and are not. So exactly

    received = published counts + counts of chunks that were seen downstream and are in no published count

and a chunk that was counted and is lost always shows, while a collector that is killed unbalances nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

RECEIVED: Final = "received"
ABANDONED: Final = "abandoned"
WATERMARK: Final = "watermark"
ABANDONED_CHUNKS: Final = "abandoned_chunks"
RECOVERED: Final = "recovered"
ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
DUPLICATE: Final = "duplicate"
LATE: Final = "late"
SUPPRESSED: Final = "suppressed"
DEAD_LETTER: Final = "dead_letter"

CONFLICT: Final = "conflict"
"""Reason of a `duplicate`: the same id with another body, or for another user."""

STAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        RECEIVED: "collector: events in chunks that were acknowledged (by Kafka, or fsynced into the spool)",
        ABANDONED: "collector: events in chunks that were not; their sender was told to send them again",
        WATERMARK: "collector, tenant '': n chunks of the incarnation are settled and in its counts",
        ABANDONED_CHUNKS: "collector, tenant '': n chunks from the id `origin` on were not acknowledged",
        RECOVERED: "watcher: events in chunks that came through and that their collector did not count",
        ACCEPTED: "worker: accepted events of a chunk",
        REJECTED: "worker: rejected events of a chunk, by reason",
        DUPLICATE: "worker: accepted events whose id is known; reason `conflict`: with another body or user",
        LATE: "worker: accepted events that came over 24 h late; they are stored, too",
        SUPPRESSED: "worker: accepted events that are dropped on purpose",
        DEAD_LETTER: "worker: accepted events that the warehouse refused",
    }
)
"""Every stage: who writes it, and what it counts. `origin` is the incarnation for the collector's and the watcher's
rows, the chunk for the worker's."""

UNMARKED: Final = 2**32
"""The watermark of an incarnation that published counts and none: a collector from before there were any."""

MARKS_BEFORE: Final = 86_400
"""Watermarks are looked for from so many seconds before the first minute on: clocks of collectors may be set back."""

BOOT: Final = "bitShiftRight(origin, 32)"
"""SQL: the incarnation that made a chunk."""


def watermarks(rows: Iterable[tuple[str, Any, Any]]) -> dict[int, int]:
    """Settled chunks by incarnation, of rows (stage, origin, n) with the stages `watermark` and `received`."""
    found: dict[int, int] = {}
    counted: set[int] = set()
    for stage, origin, n in rows:
        if stage == WATERMARK:
            found[int(origin)] = max(int(n), found.get(int(origin), 0))
        else:
            counted.add(int(origin))
    return found | dict.fromkeys(counted - found.keys(), UNMARKED)


def uncounted(marks: Mapping[int, int], since: str) -> str:
    """SQL condition on rows of `ledger`: a chunk that was seen downstream and is in no published count.

    `marks`: from `watermarks`. `since`: SQL of the minute from which abandoned chunks are read; use the same for both.
    """
    return (
        f"stage IN ('{ACCEPTED}', '{REJECTED}') AND (bitAnd(origin, {2**32 - 1}) >= {_settled(marks)} OR origin IN ("
        "SELECT arrayJoin(range(origin, origin + n)) FROM ledger "
        f"WHERE tenant = '' AND stage = '{ABANDONED_CHUNKS}' AND minute >= {since}))"
    )


def _settled(marks: Mapping[int, int]) -> str:
    if not marks:
        return "0"
    return f"transform({BOOT}, {_array(marks)}, {_array(marks.values())}, toUInt64(0))"


def _array(numbers: Collection[int]) -> str:
    return f"[{','.join(map(str, map(int, numbers)))}]::Array(UInt64)"
