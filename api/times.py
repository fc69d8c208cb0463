"""Time in and out of the API: ISO 8601 or relative in, ISO 8601 in UTC with milliseconds out."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_RELATIVE: Final = re.compile(r"-(\d{1,6})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FIRST: Final = -2_208_988_800_000
"""1900-01-01, where DateTime64 begins; in milliseconds, as everything here."""
_LAST: Final = 4_102_444_800_000


def parse(text: str, now_ms: int) -> int:
    """Milliseconds of `2026-11-21T09:00:00Z`, `2026-11-21`, `-24h` or `now`. Raises ValueError saying what is accepted.

    Text without an offset is UTC. In a query string `+` means a space, so a space before an offset is read as `+`.
    """
    text = text.strip()
    if text == "now":
        return now_ms
    if relative := _RELATIVE.fullmatch(text):
        found = now_ms - int(relative[1]) * _SECONDS[relative[2]] * 1000
    else:
        found = _absolute(text)
    if not _FIRST <= found < _LAST:
        raise ValueError("must lie between 1900 and 2099")
    return found


def _absolute(text: str) -> int:
    try:
        moment = datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", text) if "T" in text else text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (int(moment.replace(microsecond=0).timestamp())) * 1000 + moment.microsecond // 1000
    except (ValueError, OverflowError):
        raise ValueError("must be ISO 8601 such as 2026-11-21T09:00:00Z, relative such as -24h, or now") from None


def iso(ms: int | None) -> str | None:
    """`2026-11-21T09:30:00.123Z`, or None for None."""
    if ms is None:
        return None
    seconds, rest = divmod(ms, 1000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"
