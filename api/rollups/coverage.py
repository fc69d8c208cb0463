"""Which days the rollups of a tenant hold as they are now: those that were counted and that nothing has touched since.

A day is touched by an event of it that was stored later, and, because an order counts once at its first event and
somebody is new once, by such an event of another day about the same order or user.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from api.reader import Reader, Row
from api.rollups.counted import Days, day_rows
from api.rollups.families import FAMILIES, Reach
from api.slices import BEGINNING, DAY_MS, Binder
from api.sources import events_where
from schemas.clock import Clock
from schemas.taxonomy.pack import EventRef, Pack

DIRTY: Final = ("dirty", "dirty_orders", "dirty_customers")
"""The columns of `rollup_coverage`, by reach."""
_STALE_MS: Final = 6 * 3_600_000
"""With nobody counting for so long, looking for what came since costs more than the rollups save."""
_REUSE_SECONDS: Final = 1.0
_KEEP: Final = 1_000

Pieces = tuple[tuple[int, int], ...]
"""Parts of a range: start and end in ms, without the end."""


@dataclass(frozen=True)
class Coverage:
    """All days before `before` are counted, and nothing of them has changed, but for the `dirty` ones of each reach."""

    before: int
    dirty: tuple[frozenset[int], ...] = (frozenset(),) * len(Reach)

    def split(self, start_ms: int, end_ms: int, reach: Reach) -> tuple[Days, Pieces]:
        """The counted days that lie in a range as a whole, and what else is in it."""
        days: Days = []
        day, last = -(-start_ms // DAY_MS), min(end_ms // DAY_MS, self.before)
        for dirty in (*sorted(one for one in self.dirty[reach] if day <= one < last), last):
            if day < dirty:
                days.append((day, dirty))
            day = dirty + 1
        pieces, at = [], start_ms
        for first, after in days:
            if at < first * DAY_MS:
                pieces.append((at, first * DAY_MS))
            at = after * DAY_MS
        if at < end_ms:
            pieces.append((at, end_ms))
        return days, tuple(pieces)


def definition(pack: Pack) -> str:
    """A fingerprint of what the families count under a pack."""
    found = hashlib.blake2b(digest_size=12)
    for family in FAMILIES.values():
        if family.known_to(pack):
            bind = Binder()
            sql = day_rows(bind, family, "", pack, [(0, 1)])
            found.update(repr((family.id, sql, sorted(bind.params.items()))).encode())
    return found.hexdigest()


def touched(bind: Binder, tenant: str, pack: Pack, since_ms: int, before: int) -> str:
    """The SELECT of days before `before` that something touched since, and whether it was about an order.

    What touches a day is an event that was stored, or one that was taken out.
    """
    orders = f"event_type IN {bind(_types(reaching_refs(pack)), 'Array(String)')}"
    changes = _changes(bind, tenant, since_ms, before, "timestamp, event_type", "1")
    return f"SELECT toInt32(toDate32(timestamp)) AS day, max({orders}) AS ordered FROM {changes} GROUP BY day"


def related(bind: Binder, tenant: str, pack: Pack, since_ms: int, before: int) -> str:
    """The SELECT of days before `before` that such changes reach, and whether with an order and not only a customer."""
    where = events_where(bind, tenant, reaching_refs(pack))
    late = _changes(bind, tenant, since_ms, before, "order_id, user_id", where)
    same = f"order_id != '' AND order_id IN (SELECT order_id FROM {late})"
    users = f"SELECT user_id FROM {late} UNION ALL SELECT user_id FROM events WHERE {where} AND {same}"
    end = f"timestamp < {bind.time(before * DAY_MS)}"
    return (
        f"SELECT toInt32(toDate32(timestamp)) AS day, max({same}) AS ordered FROM events "
        f"WHERE {where} AND {end} AND (({same}) OR user_id IN ({users})) GROUP BY day"
    )


def reaching_refs(pack: Pack) -> list[EventRef]:
    """The events that make orders, customers and sign-ups."""
    return [ref for role in ("purchase", "conversion", "signup") for ref in pack.roles.get(role, ())]


def reaches(
    dirty: Iterable[frozenset[int]], found: Iterable[Row], reached: Iterable[Row]
) -> tuple[frozenset[int], ...]:
    """Dirty days by reach: those that were, and those of the rows of `touched` and of `related`."""
    days, orders, customers = dirty
    days |= {int(day) for day, _ in found}
    reached = list(reached)
    orders |= days | {int(day) for day, ordered in reached if ordered}
    return days, orders, customers | orders | {int(day) for day, _ in reached}


def _changes(bind: Binder, tenant: str, since_ms: int, before: int, columns: str, where: str) -> str:
    """A subquery of events of days before `before` that were stored, or taken out, since."""
    since, end = bind.time(max(since_ms, BEGINNING)), bind.time(before * DAY_MS)
    mine = f"tenant = {bind(tenant)} AND timestamp < {end} AND {where}"
    return (
        f"(SELECT {columns} FROM events WHERE {mine} AND inserted_at >= {since} UNION ALL "
        f"SELECT {columns} FROM conflicts WHERE {mine} AND moved AND found_at >= {since})"
    )


def _types(refs: Iterable[EventRef]) -> list[str]:
    return sorted({ref.event_type for ref in refs})


class CoverageReader:
    """Reads coverages, each at most once a second. Raises what the reader raises."""

    def __init__(self, reader: Reader, clock: Clock, fingerprint: Callable[[Pack], str] = definition) -> None:
        self._reader, self._clock, self._fingerprint = reader, clock, fingerprint
        self._known: dict[str, tuple[float, asyncio.Future[Coverage | None]]] = {}
        self._definitions: dict[str, str] = {}

    async def of(self, tenant: str, pack: Pack) -> Coverage | None:
        """None where there are no rollups that hold for this pack."""
        now = self._clock.monotonic()
        known = self._known.get(tenant)
        if known is None or now - known[0] >= _REUSE_SECONDS:
            if len(self._known) >= _KEEP:
                self._known.clear()
            known = self._known[tenant] = (now, asyncio.ensure_future(self._read(tenant, pack)))
        try:
            return await asyncio.shield(known[1])
        except BaseException:
            if self._known.get(tenant) is known and known[1].done():
                del self._known[tenant]
            raise

    async def _read(self, tenant: str, pack: Pack) -> Coverage | None:
        bind = Binder()
        days = ", ".join(f"arrayMap(d -> toInt32(d), {name})" for name in DIRTY)
        sql = (
            f"SELECT definition, toUnixTimestamp64Milli(until), toInt32(before), {days} "
            f"FROM rollup_coverage FINAL WHERE tenant = {bind(tenant)}"
        )
        rows = await self._reader.rows(sql, bind.params)
        if not rows or rows[0][0].partition("@")[0] != self._definition(pack):
            return None
        _, until, before, *dirty = rows[0]
        if self._clock.now() * 1000 - int(until) > _STALE_MS:
            return None
        bind = Binder()
        found = await self._reader.rows(touched(bind, tenant, pack, int(until), int(before)), bind.params)
        reached: list[Row] = []
        if any(ordered for _, ordered in found):
            bind = Binder()
            reached = await self._reader.rows(related(bind, tenant, pack, int(until), int(before)), bind.params)
        return Coverage(int(before), reaches(map(frozenset, dirty), found, reached))

    def _definition(self, pack: Pack) -> str:
        known = self._definitions.get(pack.name)
        if known is None:
            known = self._definitions[pack.name] = self._fingerprint(pack)
        return known
