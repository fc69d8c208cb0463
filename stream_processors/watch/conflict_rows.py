"""What two lines of the same id are to each other: who stays, and what is other in the one that goes. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

Row = Mapping[str, Any]
"""A row of `events` or `duplicates`; times are Unix seconds, `properties` is JSON text."""

COLUMNS: Final = (
    "tenant", "event_id", "event_type", "timestamp", "received_at", "user_id", "session_id", "source", "slot", "chunk",
    "campaign_id", "creative_id", "segment", "channel", "order_id", "subtype", "is_holdout", "backfill",
    "amount_micros", "pack", "version", "key_id", "extra", "properties", "context",
)  # fmt: skip
"""What tables of whole lines have in common."""

USER: Final = "user"
BODY: Final = "body"
COPY: Final = "copy"


class Pair(NamedTuple):
    """A line, the one of the same id that stays, and what is other in the first: `user`, `body`, or nothing, `copy`."""

    loser: Row
    winner: Row
    kind: str


def rank(row: Row) -> tuple[float, int]:
    """The line with the lowest stays: the one that was received first; of two at once, that of the lower chunk."""
    return float(row["received_at"]), int(row["chunk"])


def losers(rows: Iterable[Row]) -> list[Pair]:
    """Of stored rows, one for each chunk and id that has to go. Rows of one chunk are one event, written twice."""
    by_id: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        by_id.setdefault((row["tenant"], row["event_id"]), {})[int(row["chunk"])] = row
    found = []
    for chunks in by_id.values():
        winner, *others = sorted(chunks.values(), key=rank)
        found += [Pair(other, winner, kind_of(other, winner)) for other in others]
    return found


def resent(rows: Iterable[Row], stored: Iterable[Row]) -> Iterator[Pair]:
    """Of dropped lines those that are not what is stored under their id; without a stored line they are left out."""
    winners: dict[tuple[str, str], Row] = {}
    for row in sorted(stored, key=rank):
        winners.setdefault((row["tenant"], row["event_id"]), row)
    for row in rows:
        winner = winners.get((row["tenant"], row["event_id"]))
        if winner is not None and (kind := kind_of(row, winner)) != COPY:
            yield Pair(row, winner, kind)


def kind_of(loser: Row, winner: Row) -> str:
    """What is other. The context is left out: where and how a line was sent may change from one time to the next."""
    if loser["user_id"] != winner["user_id"]:
        return USER
    same = all(loser[name] == winner[name] for name in ("event_type", "timestamp"))
    return COPY if same and _same_json(loser["properties"], winner["properties"]) else BODY


def conflict_row(pair: Pair, *, moved: bool, now: float) -> bytes:
    """A line of `conflicts`; `now`: Unix seconds. What was moved is not settled yet."""
    loser, winner, kind = pair
    return _line(
        {name: _plain(loser[name]) for name in COLUMNS}
        | {
            "found_at": round(now, 3),
            "kind": kind,
            "moved": moved,
            "settled": not moved,
            "winner_chunk": winner["chunk"],
            "winner_user_id": winner["user_id"],
            "winner_received_at": round(winner["received_at"], 3),
            "revision": int(now * 1000),
        }
    )


def settled_row(row: Row) -> bytes:
    """The row of `conflicts` again, settled."""
    names = (*COLUMNS, "found_at", "kind", "moved", "winner_chunk", "winner_user_id", "winner_received_at")
    again = {name: _plain(row[name]) for name in names}
    return _line(again | {"settled": True, "revision": int(row["revision"]) + 1})


def _same_json(one: str, other: str) -> bool:
    return one == other or _parsed(one) == _parsed(other)


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _plain(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def _line(row: Row) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
