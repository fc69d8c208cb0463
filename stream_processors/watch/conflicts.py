"""Ids that stand for more than one event: one stays, everywhere, and the conflict is counted and visible.

Workers know the ids of their own partitions only. Under another user the same id is on another partition, so both are
stored, until this job, every few seconds, moves all but the first received into `conflicts` and has everything follow:
`events`, the ledger, windows and user states. Of lines that a worker dropped as duplicates it notes those whose body is
not what is stored.

Reads: `events`, `duplicates`, `conflicts`, `ledger`. Writes: `conflicts`, deletions in `events`, `ledger` (stage
`duplicate`, reason `conflict`), corrections on `headrace.events`, `checkpoints`. Guarantee: each step may be cut off
and done again: what was moved is pending in `conflicts` until all that follows is done, and counts are absolute. On
failure: a passing fault puts the round off. Until it was found, an id counts twice: for some seconds when both lines
came within a quarter of an hour, else up to ten minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from schemas.clock import Clock
from schemas.errors import Permanent, Retryable
from schemas.wire import encode_lines
from stream_processors.checkpoints import CheckpointRow
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import CorrectionPort, WarehousePort
from stream_processors.routes import Background
from stream_processors.settings import WatcherSettings
from stream_processors.sql import groups, moment, text, text_list
from stream_processors.watch.conflict_rows import COLUMNS, Pair, conflict_row, losers, resent
from stream_processors.watch.settlement import Settlement

log = logging.getLogger("headrace.conflicts")

RECENT_SECONDS: Final = 900.0
"""New ids are compared with those inserted within this time at once, and with all others by the wide pass."""

OVERLAP_SECONDS: Final = 60.0
"""How far before the last look the next one begins: covers inserts that took long between their time and their end."""

BUCKET_IDS: Final = 2_000_000
"""A pass over more new ids than this goes in parts, so that none needs much memory."""

PAGE: Final = 500
HASHES: Final = 5_000
"""Conflicts that are asked for at once, and moved a page after the other."""

REST: Final = 20.0
LONGEST_REST: Final = 60.0
"""After a round comes a rest of so many times what it took, at most of so many seconds."""

ID: Final = "cityHash64(tenant, event_id)"


class ConflictWatch:
    """Finds conflicts of all tenants. One instance; two at once would do the same work twice, and no harm."""

    def __init__(
        self,
        settings: WatcherSettings,
        warehouse: WarehousePort,
        corrections: CorrectionPort,
        clock: Clock,
        metrics: WorkerMetrics,
    ) -> None:
        self._settings, self._warehouse, self._clock, self._metrics = settings, warehouse, clock, metrics
        self._settlement = Settlement(warehouse, corrections)
        self._not_before = self._tried_wide = 0.0

    def background(self) -> tuple[Background, ...]:
        """The rounds."""
        return (Background("conflicts", self._settings.conflict_seconds, self.look),)

    def look(self) -> None:
        """One round, when it is time; a passing fault is logged and left for the next."""
        began = self._clock.monotonic()
        if began < self._not_before:
            return
        try:
            self.round()
        except Retryable as error:
            self._metrics.retried("conflicts")
            log.warning("the look for conflicts is put off: %s", error)
        except Permanent as error:
            self._metrics.retried("conflicts_refused")
            log.error("the look for conflicts failed: %s", error)
        ended = self._clock.monotonic()
        self._not_before = ended + min(REST * (ended - began), LONGEST_REST)

    def round(self) -> None:
        """Find what is new, and settle it. Times are the warehouse's. Raises `Retryable` or `Permanent`."""
        now = self._now()
        covered = self._covered()
        self._settlement.settle(now)
        oldest = now - RECENT_SECONDS
        self._find_stored(max(oldest, covered.get("recent", 0.0) - OVERLAP_SECONDS), oldest)
        self._cover("recent", now)
        self._find_resent(covered.get("resent", 0.0) - OVERLAP_SECONDS, now)
        self._cover("resent", now)
        wide, every = covered.get("wide", 0.0), self._settings.conflict_wide_seconds
        if now - max(wide, self._tried_wide) >= every:
            # The last, and not again at once when it fails: it may take longer than the warehouse is waited for.
            self._tried_wide = now
            self._find_stored(wide - RECENT_SECONDS, 0.0)
            self._cover("wide", now)

    def _find_stored(self, since: float, back_to: float) -> None:
        """Ids inserted since then that were also inserted with another chunk, not before `back_to`."""
        new = _inserted(since)
        (counted,) = self._warehouse.query(f"SELECT count() AS n FROM events WHERE {new}")
        buckets = -(-int(counted["n"]) // BUCKET_IDS)
        for bucket in range(buckets):
            part = f"{ID} % {buckets} = {bucket}"
            some = f" AND id IN (SELECT {ID} FROM events WHERE {new} AND {part})" if since > 0 else ""
            twice = (
                f"SELECT {ID} AS id FROM events WHERE {_inserted(back_to)} AND {part}{some}"
                f" GROUP BY id HAVING min(chunk) != max(chunk) LIMIT {HASHES}"
            )
            while hashes := [int(row["id"]) for row in self._warehouse.query(twice)]:
                among = ",".join(map(str, hashes))
                ids = self._warehouse.query(f"SELECT DISTINCT tenant, event_id FROM events WHERE {ID} IN ({among})")
                if not any([self._move(ids[at : at + PAGE]) for at in range(0, len(ids), PAGE)]):
                    break

    def _move(self, ids: Sequence[dict[str, Any]]) -> bool:
        """Move the losers among these ids into `conflicts`; whether there were any.

        Their time is that of the move, not that of the round, which may have begun minutes ago: rollups look for rows
        that are new.
        """
        now = self._now()
        pairs = losers(self._stored(ids))
        self._store(pairs, moved=True, now=now)
        self._settlement.settle(now)
        return bool(pairs)

    def _find_resent(self, since: float, now: float) -> None:
        """Lines dropped since then that are not what is stored under their id."""
        new = _inserted(since)
        key = "tenant, event_type, toDate(timestamp), user_id, timestamp, event_id"
        same = (
            "SELECT tenant, event_id, cityHash64(event_type, timestamp, user_id, properties) FROM events"
            f" WHERE ({key}) IN (SELECT {key} FROM duplicates WHERE {new})"
        )
        noted = "SELECT tenant, event_id, chunk, body FROM conflicts WHERE NOT moved"
        sql = (
            f"SELECT {', '.join(COLUMNS)} FROM duplicates WHERE {new} AND (tenant, event_id, body) NOT IN ({same})"
            f" AND (tenant, event_id, chunk, body) NOT IN ({noted})"
            f" ORDER BY tenant, event_id, chunk, body LIMIT 1 BY tenant, event_id, chunk, body LIMIT {PAGE}"
        )
        skip = 0
        while rows := self._warehouse.query(f"{sql} OFFSET {skip}"):
            pairs = list(resent(rows, self._stored(rows)))
            self._store(pairs, moved=False, now=now)
            skip += len(rows) - len(pairs)

    def _stored(self, ids: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        by_tenant: dict[str, set[str]] = {}
        for row in ids:
            by_tenant.setdefault(row["tenant"], set()).add(row["event_id"])
        for tenant, some in by_tenant.items():
            for group in groups(sorted(some)):
                yield from self._warehouse.query(
                    f"SELECT {', '.join(COLUMNS)} FROM events WHERE tenant = {text(tenant)}"
                    f" AND event_id IN {text_list(group)}"
                )

    def _store(self, pairs: Sequence[Pair], *, moved: bool, now: float) -> None:
        if pairs:
            lines = b"".join(conflict_row(pair, moved=moved, now=now) for pair in pairs)
            self._warehouse.insert_lines("conflicts", lines)
            for pair in pairs:
                self._metrics.conflict(pair.kind)
            log.warning("%d ids came again for another event; they are in the table conflicts", len(pairs))
        self._settlement.pending |= moved and bool(pairs)

    def _now(self) -> float:
        return float(self._warehouse.query("SELECT toFloat64(now64(3, 'UTC')) AS now")[0]["now"])

    def _covered(self) -> dict[str, float]:
        rows = self._warehouse.query(
            "SELECT shard, toFloat64(argMax(covered_until, version)) AS at FROM checkpoints WHERE name = 'conflicts'"
            " GROUP BY shard"
        )
        return {row["shard"]: float(row["at"]) for row in rows}

    def _cover(self, what: str, now: float) -> None:
        row = CheckpointRow("conflicts", what, round(now, 3), int(now * 1000))
        self._warehouse.insert_lines("checkpoints", encode_lines([row]))


def _inserted(since: float) -> str:
    return f"inserted_at >= {moment(since)}" if since > 0 else "1"
