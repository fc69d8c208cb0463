"""How rollups stand, whether they say what the events say, and having them counted anew.

Reads: `rollup_coverage`, `daily_*`, `events`. Writes: a row of `checkpoints` that has the watcher begin anew.
Raises `Retryable` when the warehouse stays away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.funnels.days import compared_ways, declared
from api.rollups.counted import compared, runs
from api.rollups.coverage import DIRTY, DIRTY_WAYS, Coverage
from api.rollups.rosters import COUNTED, Roster, compared_roster
from api.rollups.standing import definition
from api.slices import DAY_MS, Binder
from schemas.clock import Clock
from schemas.taxonomy.pack import Pack
from schemas.wire import encode_lines
from sinks.warehouse import Warehouse
from stream_processors.checkpoints import rebuild_row

POLL_SECONDS: Final = 1.0
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Standing:
    """The rollups of one tenant. `days`: counted ones; `dirty`: those to be counted; `until`: Unix seconds."""

    tenant: str
    pack: str
    until: float | None
    days: tuple[int, ...]
    dirty: int
    current: bool


class RollupDesk:
    """For the command `headrace rollups`."""

    def __init__(self, warehouse: Warehouse, packs: Mapping[str, Pack], clock: Clock) -> None:
        self._warehouse, self._packs, self._clock = warehouse, packs, clock

    def standings(self, tenant: str | None = None) -> list[Standing]:
        """Every tenant that has events, or one."""
        rows = self._warehouse.query(
            "SELECT tenant, any(pack) AS pack, groupUniqArray(toInt32(toDate32(timestamp))) AS days FROM events"
            " WHERE tenant != '' GROUP BY tenant ORDER BY tenant"
        )
        return [self._standing(row) for row in rows if tenant in (None, row["tenant"]) and row["pack"] in self._packs]

    def _standing(self, row: Mapping[str, Any]) -> Standing:
        days = ", ".join(f"arrayMap(d -> toInt32(d), {name})" for name in DIRTY)
        rows = self._warehouse.query(
            "SELECT definition, toFloat64(until) AS at, toInt32(before) AS first_open,"
            f" arrayDistinct(arrayConcat({days})) AS dirty_days FROM rollup_coverage FINAL"
            " WHERE tenant = {tenant:String}",
            {"tenant": row["tenant"]},
        )
        if not rows:
            return Standing(row["tenant"], row["pack"], None, (), len(row["days"]), False)
        (known,) = rows
        dirty = set(map(int, known["dirty_days"]))
        counted = sorted({day for day in map(int, row["days"]) if day < int(known["first_open"])} - dirty)
        current = known["definition"].partition("@")[0] == definition(self._packs[row["pack"]])
        return Standing(row["tenant"], row["pack"], float(known["at"]), tuple(counted), len(dirty), current)

    def differences(self, one: Standing, progress: Progress) -> Iterator[dict[str, Any]]:
        """Rows of a tenant's rollups that are not what the events say; of counted days only."""
        pack = self._packs[one.pack]
        counted = [each for each in COUNTED.values() if each.known_to(pack)]
        for done, each in enumerate(counted):
            progress("families", done, len(counted))
            if one.days and one.current:
                bind, days = Binder(), runs(one.days)
                if isinstance(each, Roster):
                    sql = compared_roster(bind, each, one.tenant, pack, days)
                else:
                    sql = compared(bind, each, one.tenant, pack, days)
                for row in self._warehouse.query(sql, bind.params):
                    yield {"tenant": one.tenant, "family": each.id, **row, "day": str(row["day"])}
        yield from self._ways_that_differ(one, pack)

    def _ways_that_differ(self, one: Standing, pack: Pack) -> Iterator[dict[str, Any]]:
        names = (DIRTY_WAYS, *DIRTY)
        arrays = ", ".join(f"arrayMap(d -> toInt32(d), {name}) AS days_{at}" for at, name in enumerate(names))
        rows = self._warehouse.query(
            f"SELECT toInt32(before) AS first_open, {arrays} FROM rollup_coverage FINAL"
            " WHERE tenant = {tenant:String}",
            {"tenant": one.tenant},
        )
        if not rows or not one.days or not one.current:
            return
        ways, *dirty = (frozenset(map(int, rows[0][f"days_{at}"])) for at in range(len(names)))
        covered = Coverage(int(rows[0]["first_open"]), tuple(dirty), ways)
        for funnel in declared(pack):
            span = one.days[0] * DAY_MS, covered.before * DAY_MS
            days = [day for run in covered.entries(*span, funnel.reach)[0] for day in range(*run)]
            bind = Binder()
            sql = compared_ways(bind, funnel, one.tenant, pack, days) if days else ""
            for row in self._warehouse.query(sql, bind.params) if days else ():
                yield {"tenant": one.tenant, "family": f"ways of {funnel.id}", **row, "day": str(row["day"])}

    def rebuild(self, tenant: str | None, progress: Progress, *, wait: bool, patience: float) -> bool:
        """Have the watcher count everything anew; whether it has. `wait`: until it has, `patience` seconds at most.

        Until then metrics are counted from the events.
        """
        version = int(self._clock.now() * 1000)
        self._warehouse.insert_lines("checkpoints", encode_lines([rebuild_row(tenant, version)]))
        ending = self._clock.monotonic() + patience
        while wait and self._clock.monotonic() < ending:
            left, all_days = self._left(tenant, version)
            progress("days", all_days - left, max(all_days, 1))
            if not left:
                return True
            self._clock.sleep(POLL_SECONDS)
        return False

    def _left(self, tenant: str | None, version: int) -> tuple[int, int]:
        """Days to be counted since the rebuild, and days in all."""
        left = total = 0
        for one in self.standings(tenant):
            days = len(one.days) + one.dirty
            begun = self._warehouse.query(
                "SELECT definition FROM rollup_coverage FINAL WHERE tenant = {tenant:String}", {"tenant": one.tenant}
            )
            total += days
            left += one.dirty if begun and begun[0]["definition"].endswith(f".{version}") else days
        return left, total
