"""What a replay is asked for: which events, from where, into which tables, and what becomes of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from schemas.errors import ConfigError
from stream_processors.sql import moment

Source = Literal["events", "kafka"]

PARTS: Final = ("windows", "user_state", "models", "anomalies", "events")
"""What can be asked for with `--what`, in the order in which it is made."""

TABLES: Final = {
    "windows": ("windows",),
    "user_state": ("user_state",),
    "models": ("predictions", "evaluations"),
    "anomalies": ("anomalies",),
    "events": ("events",),
}
"""Part to the tables that it is written into."""

FOREVER: Final = 4_102_444_800
"""Unix seconds of 2100-01-01: later than any event."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
MINUTE: Final = 60


@dataclass(frozen=True)
class Span:
    """Event time from `start` to before `end`, Unix seconds, whole minutes."""

    start: int = 0
    end: int = FOREVER

    @property
    def is_whole(self) -> bool:
        """Whether every event is in it."""
        return self.start <= 0 and self.end >= FOREVER

    def condition(self, column: str) -> str:
        """The SQL condition that a DateTime or DateTime64 column lies in the span."""
        return f"({column} >= {moment(self.start)} AND {column} < {moment(self.end)})"


@dataclass(frozen=True)
class Request:
    """One replay. `name`: of its tables' database; `keep`: leave them there when nothing was swapped."""

    span: Span
    source: Source
    name: str
    what: tuple[str, ...]
    keep: bool = False
    compare: bool = True
    swap: bool = False
    dry_run: bool = False

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that are made, compared and swapped."""
        return tuple(table for part in self.what for table in TABLES[part])


def make_span(start: str | None, end: str | None) -> Span:
    """The span between two texts as a user wrote them; None is open. Raises ConfigError."""
    first = 0 if start is None else int(parse_time(start, "--from") // MINUTE * MINUTE)
    last = FOREVER if end is None else int(-(-parse_time(end, "--to") // MINUTE) * MINUTE)
    if first >= last:
        raise ConfigError("lies after --to, or at the same minute: nothing is between them", key="--from")
    return Span(first, last)


def parse_time(text: str, option: str) -> float:
    """Unix seconds of an ISO date or time; without a zone it is UTC. Raises ConfigError naming `option`."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            f"write a date or time like 2026-11-01 or 2026-11-01T12:00:00Z, not {text!r}", key=option
        ) from None
    at = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    if not 0 <= at < FOREVER:
        raise ConfigError(f"{text!r} lies before 1970 or after 2099", key=option)
    return at


def parse_what(text: str | None, span: Span, source: Source) -> tuple[str, ...]:
    """The parts in `text` (comma separated; None: all that `source` and `span` allow). Raises ConfigError."""
    refused = _not_possible(span, source)
    if text is None:
        return tuple(part for part in PARTS if part not in refused)
    asked = [part.strip() for part in text.split(",") if part.strip()]
    for part in asked:
        if part not in PARTS:
            raise ConfigError(f"{part!r} is none of {', '.join(PARTS)}", key="--what")
        if part in refused:
            raise ConfigError(f"{part} {refused[part]}", key="--what")
    if not asked:
        raise ConfigError(f"name at least one of {', '.join(PARTS)}", key="--what")
    return tuple(part for part in PARTS if part in asked)


def _not_possible(span: Span, source: Source) -> dict[str, str]:
    if source == "events":
        return {"events": "are what is replayed: rebuild them with --source kafka"}
    if span.is_whole:
        return {}
    past = "needs the events from before --from and after --to, too: use --source events, or leave the two out"
    return {"user_state": past, "models": past, "anomalies": past}


def check_name(name: str) -> str:
    """`name` when it can name a database's end. Raises ConfigError."""
    if not _NAME.match(name):
        raise ConfigError("use small letters, digits and _, up to 40, beginning with a letter", key="--into")
    return name
