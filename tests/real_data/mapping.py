"""CDNOW purchases and Sparkify listening logs as taxonomy events. Ids derive from the content: same file, same ids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest

Event = dict[str, Any]

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CDNOW = DATA / "cdnow" / "CDNOW_sample.txt"
SPARKIFY = DATA / "sparkify_logs" / "2018" / "11"
NAMESPACE = UUID("8f9c2a52-6f0e-5f0b-9a37-3f8a8a0d1c11")
LIMIT_DAYS = 29
"""The collector takes events of the last 30 days; a day is left for slow tests."""

PAGES = {
    "Home": "app_open",
    "Login": "app_open",
    "NextSong": "view_catalog",
    "Upgrade": "view_rewards",
    "Downgrade": "view_rewards",
    "Help": "search",
    "Save Settings": "save_item",
    "Submit Upgrade": "save_item",
    "Submit Downgrade": "save_item",
}
"""Page to engagement type; every other page is `view_catalog`."""


def require(path: Path) -> Path:
    """The path, or a skipped test that says what is missing."""
    if not path.exists():
        pytest.skip(f"the data set {path} is not on this machine")
    return path


def iso(ms: int) -> str:
    """Milliseconds UTC as ISO 8601."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def cdnow(label: str = "cdnow", *, now: float | None = None) -> list[Event]:
    """6,919 `user_purchased` events (1997-98), at noon UTC of their day.

    `label` names this copy (other label, other ids). `now` (Unix seconds) squeezes time linearly so that the newest
    purchase is now and the oldest `LIMIT_DAYS` before; without it times stay as they were.
    """
    rows = [line.split() for line in require(CDNOW).read_text().splitlines() if line.strip()]
    times = [_noon(row[2]) for row in rows]
    shifted = squeeze(times, now) if now is not None else times
    return [_purchase(label, index, row, ms) for index, (row, ms) in enumerate(zip(rows, shifted, strict=True))]


def _noon(yyyymmdd: str) -> int:
    day = datetime.strptime(yyyymmdd, "%Y%m%d").replace(tzinfo=UTC, hour=12)
    return int(day.timestamp()) * 1000


def _purchase(label: str, index: int, row: list[str], ms: int) -> Event:
    _, customer, _, discs, dollars = row
    return {
        "event_id": str(uuid5(NAMESPACE, f"{label}/event/{index}")),
        "event_type": "user_purchased",
        "timestamp": iso(ms),
        "user_id": f"customer-{customer}",
        "session_id": "",
        "source": "backend",
        "properties": {
            "order_id": str(uuid5(NAMESPACE, f"{label}/order/{index}")),
            "order_value": float(dollars),
            "order_category": "music",
            "number_of_cds": int(discs),
        },
        "context": {},
    }


def sparkify(label: str = "sparkify", *, now: float | None = None) -> list[Event]:
    """8,056 `user_engaged` events and a `user_signed_up` at each known user's registration; `label` and `now` as above.

    A logged-out visitor has no user id and is known by the session. Fields without a place in the taxonomy are kept as
    extra properties.
    """
    rows = list(_log_lines())
    signups = {row["userId"]: row for row in reversed(rows) if row["userId"]}
    times = [int(row["ts"]) for row in rows] + [int(row["registration"]) for row in signups.values()]
    shifted = squeeze(times, now) if now is not None else times
    events = [_engaged(label, index, row, shifted[index]) for index, row in enumerate(rows)]
    events += [_signed_up(label, row, ms) for row, ms in zip(signups.values(), shifted[len(rows) :], strict=True)]
    return sorted(events, key=lambda event: (event["timestamp"], event["event_id"]))


def _log_lines() -> Iterator[dict[str, Any]]:
    for path in sorted(require(SPARKIFY).glob("*.json")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line:
                yield json.loads(line)


def _engaged(label: str, index: int, row: dict[str, Any], ms: int) -> Event:
    known = {"userId", "sessionId", "ts", "page"}
    extra = {key: value for key, value in row.items() if key not in known and value is not None}
    session = f"session-{row['sessionId']}"
    return {
        "event_id": str(uuid5(NAMESPACE, f"{label}/event/{index}")),
        "event_type": "user_engaged",
        "timestamp": iso(ms),
        "user_id": f"listener-{row['userId']}" if row["userId"] else f"anonymous-{session}",
        "session_id": session,
        "source": "mobile",
        "properties": {
            "engagement_type": PAGES.get(row["page"], "view_catalog"),
            "screen_name": row["page"],
            "session_id": session,
            **extra,
        },
        "context": {"platform": "Web", "user_segment": row["level"]},
    }


def _signed_up(label: str, row: dict[str, Any], ms: int) -> Event:
    return {
        "event_id": str(uuid5(NAMESPACE, f"{label}/signup/{row['userId']}")),
        "event_type": "user_signed_up",
        "timestamp": iso(ms),
        "user_id": f"listener-{row['userId']}",
        "session_id": "",
        "source": "backend",
        "properties": {"acquisition_channel": "direct", "gender": row["gender"], "location": row["location"]},
        "context": {},
    }


def squeeze(times: list[int], now: float) -> list[int]:
    """Times (ms) mapped linearly onto the last `LIMIT_DAYS` days before `now` (Unix seconds); order is kept."""
    first, last = min(times), max(times)
    end = int(now * 1000)
    room = min(last - first, LIMIT_DAYS * 86_400_000)
    return [end - (last - ms) * room // max(1, last - first) for ms in times]


def write_ndjson(events: list[Event], path: Path) -> Path:
    """The events as a file for `headrace backfill`."""
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    return path
