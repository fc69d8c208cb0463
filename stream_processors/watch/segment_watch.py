"""The daily segmentation: who belongs to which behaviour pattern as of a midnight, told as events where it changed.

Reads: `events`. Writes: `user_segmented` and `user_unsegmented`, then one `data_refresh_completed` a tenant and day.
It keeps no state: the segment before is what the newest such event says, and the round of a day is over when its last
event is stored. Guarantee: the ids of these events are those of user and midnight, and a user about whom something was
said at that midnight is left alone; so a round that broke off and is run again changes nothing it has said. On
failure: a passing fault puts the round off. Only the last midnight is judged: what a backfill brings counts in the
next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from schemas.clock import Clock
from schemas.errors import Permanent, Retryable
from schemas.segments import Patterns
from schemas.segments.patterns import segments_users
from schemas.taxonomy.pack import Pack
from stream_processors.insights.segment_features import Known, read, statement
from stream_processors.insights.segments import Assignment, assign
from stream_processors.insights.taxonomy_events import Event, segments_refreshed, user_segmented, user_unsegmented
from stream_processors.metrics import WorkerMetrics
from stream_processors.ports import PublisherPort, WarehousePort
from stream_processors.routes import Background
from stream_processors.settings import WatcherSettings
from stream_processors.watch.tenants import ROUND_DELAY_SECONDS, Tenants, is_being_filled

log = logging.getLogger("headrace.segments")

DAY: Final = 86_400
_AT_ONCE: Final = 5_000
"""Events published at a time: between two the watcher can end."""


class SegmentWatch:
    """All tenants' daily segmentation."""

    def __init__(
        self,
        settings: WatcherSettings,
        packs: Mapping[str, Pack],
        patterns: Patterns,
        warehouse: WarehousePort,
        publisher: PublisherPort,
        clock: Clock,
        metrics: WorkerMetrics,
        *,
        stored_until: Callable[[], float],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """`stored_until`: a moment (Unix seconds) such that all events received before it are stored; may block.

        Raises ConfigError when a pack has segments of other names than `patterns`.
        """
        self._packs = {name: pack for name, pack in packs.items() if segments_users(pack)}
        self._settings, self._patterns, self._warehouse, self._publisher = settings, patterns, warehouse, publisher
        self._stored_until, self._clock, self._metrics, self._stopping = stored_until, clock, metrics, stopping
        self._tenants = Tenants(warehouse)
        self._done: dict[str, int] = {}
        for pack in self._packs.values():
            for pattern, why in patterns.unassignable(pack).items():
                log.warning("%s is given to nobody: %s", pattern, why)

    def background(self) -> tuple[Background, ...]:
        """The look for a day that closed, as often as the churn model looks for one; none where it is off."""
        if not self._settings.segments:
            return ()
        return (Background("segments", self._settings.churn_seconds, self.look),)

    def look(self) -> None:
        """One look at every tenant; a passing fault is logged and left for the next."""
        try:
            for tenant, pack in self._tenants.look():
                if self._stopping():
                    return
                if pack in self._packs:
                    self._look_at(tenant, self._packs[pack])
        except Retryable as error:
            self._metrics.retried("segments")
            log.warning("the segmentation is put off: %s", error)
        except Permanent as error:
            self._metrics.retried("segments_refused")
            log.error("the segmentation failed: %s", error)

    def _look_at(self, tenant: str, pack: Pack) -> None:
        now = self._clock.now()
        as_of = int((now - ROUND_DELAY_SECONDS) // DAY) * DAY
        if self._done.get(tenant) == as_of or is_being_filled(self._warehouse, tenant, now):
            return
        if self._stored_until() < as_of:
            return
        if not self._is_over(tenant, as_of) and not self._round(tenant, pack, as_of):
            return
        self._done[tenant] = as_of

    def _is_over(self, tenant: str, as_of: int) -> bool:
        last = segments_refreshed(tenant=tenant, at=as_of, users=0)
        sql = (
            "SELECT 1 AS one FROM events WHERE tenant = {tenant:String} AND event_type = {type:String}"
            " AND timestamp = fromUnixTimestamp64Milli({at:Int64}, 'UTC') AND event_id = {id:String} LIMIT 1"
        )
        params = {"tenant": tenant, "type": last["event_type"], "at": as_of * 1000, "id": last["event_id"]}
        return bool(self._warehouse.query(sql, params))

    def _round(self, tenant: str, pack: Pack, as_of: int) -> bool:
        """Whether the round is over; without users before the midnight there is none yet."""
        asked = statement(pack, tenant, as_of, self._patterns)
        known = read(self._warehouse.query(asked.sql, asked.params), as_of)
        if len(known) > self._patterns.most_users:
            raise Permanent(f"{tenant} has more than {self._patterns.most_users} users; raise most_users")
        if not known:
            return False
        assigned = assign([one.features for one in known], self._patterns)
        events = changes(tenant, as_of, known, assigned)
        for start in range(0, len(events), _AT_ONCE):
            if self._stopping():
                return False
            self._publisher.publish(tenant, events[start : start + _AT_ONCE])
        self._publisher.publish(tenant, [segments_refreshed(tenant=tenant, at=as_of, users=len(known))])
        fitting = sum(one.primary is not None for one in assigned)
        text = "segments of %s as of day %d: %d users, %d assigned, %d changed"
        log.info(text, tenant, as_of // DAY, len(known), fitting, len(events))
        return True


def changes(tenant: str, as_of: int, known: Sequence[Known], assigned: Sequence[Assignment]) -> list[Event]:
    """The events about users whose segment changed at `as_of` (Unix seconds); none where one was told already."""
    found = []
    for before, now in zip(known, assigned, strict=True):
        primary = now.primary
        if before.said_now or before.before == (primary.pattern if primary else ""):
            continue
        found.append(_change(tenant, as_of, before.before, now))
    return found


def _change(tenant: str, as_of: int, before: str, now: Assignment) -> Event:
    if now.primary is None:
        reason = "no pattern fits any more"
        return user_unsegmented(tenant=tenant, user_id=now.user_id, at=as_of, before=before, reason=reason)
    return user_segmented(
        tenant=tenant,
        user_id=now.user_id,
        at=as_of,
        segment=now.primary.pattern,
        score=now.primary.score,
        before=before,
        reason=now.primary.reason,
        matching=[one.pattern for one in now.matches],
    )
