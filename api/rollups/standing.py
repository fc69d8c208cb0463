"""How far a tenant's rollups go, by the watcher's word and by what came since; the fingerprint of what they count.

A day is touched by an event of it that was stored later, and, because an order counts once at its first event and
somebody is new once, by such an event of another day about the same order or user (`touched`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

from api.funnels.days import declared, way_days
from api.reader import Reader, Row
from api.rollups.counted import day_rows
from api.rollups.coverage import DIRTY, DIRTY_WAYS, Coverage
from api.rollups.rosters import COUNTED, Roster, roster_days
from api.rollups.touched import reaches, related, touched
from api.slices import Binder
from schemas.clock import Clock
from schemas.taxonomy.pack import Pack

_STALE_MS: Final = 6 * 3_600_000
"""With nobody counting for so long, looking for what came since costs more than the rollups save."""
_REUSE_SECONDS: Final = 1.0
_KEEP: Final = 1_000


def definition(pack: Pack) -> str:
    """A fingerprint of what families and rosters count under a pack."""
    found, days = hashlib.blake2b(digest_size=12), [(0, 1)]
    for name, one in COUNTED.items():
        if one.known_to(pack):
            bind = Binder()
            sql = (
                roster_days(bind, one, "", pack, days)
                if isinstance(one, Roster)
                else day_rows(bind, one, "", pack, days)
            )
            found.update(repr((name, sql, sorted(bind.params.items()))).encode())
    for funnel in declared(pack):
        bind = Binder()
        sql = way_days(bind, funnel, "", pack, [0], [0])
        found.update(repr((funnel.id, sql, sorted(bind.params.items()))).encode())
    return found.hexdigest()


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
        days = ", ".join(f"arrayMap(d -> toInt32(d), {name})" for name in (DIRTY_WAYS, *DIRTY))
        sql = (
            f"SELECT definition, toUnixTimestamp64Milli(until), toInt32(before), {days} "
            f"FROM rollup_coverage FINAL WHERE tenant = {bind(tenant)}"
        )
        rows = await self._reader.rows(sql, bind.params)
        if not rows or rows[0][0].partition("@")[0] != self._definition(pack):
            return None
        _, until, before, ways, *dirty = rows[0]
        if self._clock.now() * 1000 - int(until) > _STALE_MS:
            return None
        bind = Binder()
        found = await self._reader.rows(touched(bind, tenant, pack, int(until), int(before)), bind.params)
        reached: list[Row] = []
        if any(reaching for _, reaching in found):
            bind = Binder()
            reached = await self._reader.rows(related(bind, tenant, pack, int(until), int(before)), bind.params)
        return Coverage(int(before), reaches(dirty, found, reached), frozenset(map(int, ways)))

    def _definition(self, pack: Pack) -> str:
        known = self._definitions.get(pack.name)
        if known is None:
            known = self._definitions[pack.name] = self._fingerprint(pack)
        return known
