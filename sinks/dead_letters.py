"""Lines that the warehouse refused, as rows of `rejected_events` and of the ledger."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import xxhash

from schemas.reasons import Reason
from schemas.wire import LedgerLine, RejectedLine

STAGE: Final = "dead_letter"
"""Ledger stage of refused lines: they were counted as accepted, and are not stored in `events`.

So a closed minute balances as accepted = stored + duplicates + dead letters.
"""

_MESSAGE: Final = 400


def refused_line(line: bytes, message: str, now: float) -> RejectedLine:
    """The dead letter of one line. The same line gives the same row key, so a replay changes nothing.

    `now` (Unix seconds) stands in for the time of receipt only where the line itself cannot be read.
    """
    fields = _fields(line)
    original, encoding = _text(line)
    return RejectedLine(
        tenant=_as_text(fields, "tenant"),
        received_at=_as_number(fields, "received_at", now),
        reason=Reason.REFUSED_BY_WAREHOUSE.value,
        field="",
        message=message[:_MESSAGE],
        key_id=_as_text(fields, "key_id"),
        chunk=int(_as_number(fields, "chunk", 0)),
        index=xxhash.xxh32_intdigest(line),
        event_id=_as_text(fields, "event_id"),
        event_type=_as_text(fields, "event_type"),
        original=original,
        encoding=encoding,
    )


def count_refused(lines: Iterable[RejectedLine]) -> list[LedgerLine]:
    """The ledger's rows for refused lines: absolute counts by tenant, minute of receipt and chunk."""
    counts = Counter((line.tenant, int(line.received_at) // 60 * 60, line.reason, line.chunk) for line in lines)
    return [
        LedgerLine(tenant=tenant, minute=minute, stage=STAGE, reason=reason, origin=chunk, n=n, version=n)
        for (tenant, minute, reason, chunk), n in sorted(counts.items())
    ]


def _fields(line: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(line: bytes) -> tuple[str, str]:
    try:
        return line.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(line).decode(), "base64"


def _as_text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name, "")
    return value if isinstance(value, str) else ""


def _as_number(fields: dict[str, Any], name: str, default: float) -> float:
    value = fields.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**64 else default
