"""Segments as the API shows them: sizes, money and response of the patterns and of custom segments, and members.

Everything is as of a moment, `end`: who belongs where by what happened before it, and spend and response in the
`window_days` up to it. Counts stand beside the rates that are made of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from api.criteria import Criteria, Values
from api.custom_segments import Custom, read_customs
from api.ledger import INCOMPLETE_BELOW, LedgerReader
from api.people import Part, Wanted, people
from api.reader import Reader, Row
from api.rfm import DAY_MS, ratio, read_rfm
from api.slices import Binder
from api.sources import events_where
from api.times import iso
from schemas.segments import Clusters, Patterns, pattern_uuid
from schemas.segments.patterns import REFRESHED
from schemas.taxonomy.pack import Pack
from schemas.wire import MICROS

_SUMS: Final = (
    "count(), sum(micros), sum(recent_micros), sum(impressions), sum(clicks), countIf(clicks > 0), countIf(converted)"
)
_NOBODY: Final = (0,) * 7
_SHOWN: Final = 20
MEMBER: Final = ("user_id", "segment", "acquisition_channel", "signed_up", "orders", "ltv", "last_order")


@dataclass(frozen=True)
class Segment:
    """A pattern or a custom segment: what it is, and who belongs to it."""

    id: str
    name: str
    kind: str
    criteria: Criteria
    definition: Mapping[str, Any]
    about: Mapping[str, Any]


class SegmentReader:
    """Answers questions about segments, by declared patterns and clusters. Raises what the reader raises."""

    def __init__(self, reader: Reader, ledger: LedgerReader, patterns: Patterns, clusters: Clusters) -> None:
        self._reader, self._ledger = reader, ledger
        self.patterns, self.clusters = patterns, clusters

    def wanted(self, tenant: str, pack: Pack, end_ms: int) -> Wanted:
        """The people of a tenant as of a moment."""
        return Wanted(tenant, pack, end_ms - self.patterns.window_days * DAY_MS, end_ms)

    async def all(self, wanted: Wanted) -> list[Segment]:
        """The patterns, strongest first, then the custom segments."""
        customs, updated = await asyncio.gather(self.customs(wanted), self._updated(wanted))
        missing = self.patterns.unassignable(wanted.pack)
        found = [self._pattern(name, missing.get(name), updated) for name in self.patterns.precedence]
        return found + [self.custom(one, wanted) for one in customs.values()]

    async def customs(self, wanted: Wanted) -> dict[str, Custom]:
        """The custom segments by id."""
        return await read_customs(self._reader, wanted.tenant, wanted.pack, self.clusters)

    def custom(self, one: Custom, wanted: Wanted) -> Segment:
        """A custom segment, which is evaluated when it is asked for."""
        about = {"defined_at": iso(one.defined_ms), "last_updated": iso(wanted.end_ms)}
        return Segment(one.id, one.name, "custom", one.criteria, {"criteria": one.criteria.plain()}, about)

    async def listed(self, wanted: Wanted, segments: Sequence[Segment]) -> dict[str, Any]:
        """The numbers of segments, and of all users together."""
        total, numbers = await self._numbers(wanted, segments)
        shown = [{**_head(one), **_shown(some, total[0])} for one, some in zip(segments, numbers, strict=True)]
        return {"total_users": total[0], "segments": shown, **await self._around(wanted)}

    async def rfm(self, wanted: Wanted) -> dict[str, Any]:
        """The RFM clusters of the users who bought in the range."""
        found, around = await asyncio.gather(
            read_rfm(self._reader, wanted.tenant, wanted.pack, self.clusters, wanted.start_ms, wanted.end_ms),
            self._around(wanted),
        )
        return {**found, **around}

    async def makeup(self, wanted: Wanted, segment: Segment) -> dict[str, dict[str, int]]:
        """How many members have which acquisition channel and pattern, the most frequent ones; "" is unknown."""
        columns = {"acquisitionChannels": "channel", "segments": "segment"}
        found = await asyncio.gather(*(self._counted(wanted, segment, column) for column in columns.values()))
        return dict(zip(columns, found, strict=True))

    async def members(self, wanted: Wanted, segment: Segment, limit: int, offset: int) -> list[dict[str, Any]]:
        """A page of a segment's members, by user_id."""
        bind = Binder()
        where, rows = self._of(bind, wanted, segment)
        sql = (
            "SELECT user_id, segment, channel, signed_up, toUnixTimestamp64Milli(signed_at), orders, micros, "
            f"toUnixTimestamp64Milli(ordered_at) FROM {rows} WHERE {where} ORDER BY user_id "
            f"LIMIT {bind(limit, 'UInt32')} OFFSET {bind(offset, 'UInt32')}"
        )
        return [_member(row) for row in await self._reader.rows(sql, bind.params)]

    def _pattern(self, name: str, missing: str | None, updated: str | None) -> Segment:
        rule = getattr(self.patterns.patterns, name).model_dump()
        plain = {key: float(value) if isinstance(value, Fraction) else value for key, value in rule.items()}
        about = {"segment_id": pattern_uuid(name), "last_updated": updated, "assigned": missing is None}
        why = {} if missing is None else {"reason": missing}
        return Segment(name, name, "pattern", Criteria({"segment": Values(any_of=[name])}), plain, about | why)

    def users(self, bind: Binder, wanted: Wanted, criteria: Criteria) -> str:
        """The SELECT of the `user_id` of those who meet criteria."""
        rows = people(bind, replace(wanted, parts=criteria.parts()), self.clusters)
        return f"SELECT user_id FROM {rows} WHERE {criteria.condition(bind, wanted.end_ms)}"

    def _of(self, bind: Binder, wanted: Wanted, segment: Segment) -> tuple[str, str]:
        """The condition of a segment's members, and the rows to put it to."""
        condition = segment.criteria.condition(bind, wanted.end_ms)
        return condition, people(bind, replace(wanted, parts=segment.criteria.parts()), self.clusters)

    async def _counted(self, wanted: Wanted, segment: Segment, column: str) -> dict[str, int]:
        bind = Binder()
        where, rows = self._of(bind, wanted, segment)
        sql = f"SELECT {column}, count() AS n FROM {rows} WHERE {where} GROUP BY {column} ORDER BY n DESC, {column}"
        found = await self._reader.rows(f"{sql} LIMIT {bind(_SHOWN, 'UInt32')}", bind.params)
        return {value: int(n) for value, n in found}

    async def _numbers(self, wanted: Wanted, segments: Sequence[Segment]) -> tuple[Sequence[int], list[Sequence[int]]]:
        """The sums over everybody, and over each segment, in one read: a user counts under each label that fits."""
        bind = Binder()
        parts = frozenset[Part]({Part.RESPONSE}).union(*(one.criteria.parts() for one in segments))
        rows = people(bind, replace(wanted, parts=parts), self.clusters)
        labels = "".join(
            f", if({one.criteria.condition(bind, wanted.end_ms)}, [toInt32({place})], [])"
            for place, one in enumerate(segments)
        )
        label = f"arrayJoin(arrayConcat([toInt32(-1)]{labels}))"
        sql = f"SELECT {label} AS label, {_SUMS} FROM {rows} GROUP BY label"
        found = {int(at): tuple(map(int, sums)) for at, *sums in await self._reader.rows(sql, bind.params)}
        return found.get(-1, _NOBODY), [found.get(place, _NOBODY) for place in range(len(segments))]

    async def _updated(self, wanted: Wanted) -> str | None:
        """The newest round, or news of somebody else about segments."""
        bind = Binder()
        told = events_where(bind, wanted.tenant, wanted.pack.roles["segment"])
        where = bind.before(wanted.end_ms)
        round_ = (
            f"tenant = {bind(wanted.tenant)} AND event_type = {bind(REFRESHED)} "
            "AND JSONExtractString(properties, 'data_source') = 'segments'"
        )
        sql = (
            f"SELECT count(), toUnixTimestamp64Milli(max(timestamp)) FROM (SELECT timestamp FROM events WHERE {told} "
            f"AND {where} UNION ALL SELECT timestamp FROM events WHERE {round_} AND {where})"
        )
        n, at = (await self._reader.rows(sql, bind.params))[0]
        return iso(int(at)) if n else None

    async def _around(self, wanted: Wanted) -> dict[str, Any]:
        completeness, as_of = await asyncio.gather(
            self._ledger.completeness(wanted.tenant, wanted.start_ms, wanted.end_ms), self._ledger.as_of(wanted.tenant)
        )
        return {
            "start": iso(wanted.start_ms),
            "end": iso(wanted.end_ms),
            "as_of": iso(as_of),
            "completeness": round(completeness, 4),
            "incomplete": completeness < INCOMPLETE_BELOW,
        }


def _head(one: Segment) -> dict[str, Any]:
    return {"id": one.id, "name": one.name, "kind": one.kind, **one.about, "definition": dict(one.definition)}


def _shown(sums: Sequence[int], total: int) -> dict[str, Any]:
    users, paid, recent, impressions, clicks, clicking, converted = sums
    return {
        "users": users,
        "share": ratio(users * 100, total),
        "avg_spend": ratio(recent, users * MICROS),
        "spend": float(Fraction(recent, MICROS)),
        "avg_ltv": ratio(paid, users * MICROS),
        "ltv": float(Fraction(paid, MICROS)),
        "ctr": ratio(clicks * 100, impressions),
        "clicks": clicks,
        "impressions": impressions,
        "conversion_rate": ratio(converted * 100, clicking),
        "converted_users": converted,
        "clicking_users": clicking,
    }


def _member(row: Row) -> dict[str, Any]:
    user, segment, channel, joined, joined_at, orders, micros, ordered_at = row
    times = iso(int(joined_at)) if joined else None, iso(int(ordered_at)) if int(orders) else None
    paid = float(Fraction(int(micros), MICROS))
    values = (user, segment or None, channel or None, times[0], int(orders), paid, times[1])
    return dict(zip(MEMBER, values, strict=True))
