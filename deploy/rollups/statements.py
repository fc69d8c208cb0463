"""The statements of rollups for the watcher, out of what the API's metrics define."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.funnels.days import SHARDS, declared, insert_ways
from api.rollups.counted import counted_days, insert_days, insert_numbers, runs, told
from api.rollups.rosters import COUNTED, Roster, insert_roster
from api.rollups.standing import definition
from api.rollups.touched import related, touched
from api.slices import Binder
from schemas.taxonomy.pack import Pack

Statement = tuple[str, Mapping[str, Any]]


class RollupStatements:
    """See `stream_processors.watch.rollup_port.RollupPort`."""

    def definition(self, pack: Pack) -> str:
        return definition(pack)

    def families(self, pack: Pack) -> Mapping[str, int]:
        return {name: int(one.reach) for name, one in COUNTED.items() if one.known_to(pack)}

    def touched(self, tenant: str, pack: Pack, since: float, before: int) -> Statement:
        bind = Binder()
        return touched(bind, tenant, pack, int(since * 1000), before), bind.params

    def related(self, tenant: str, pack: Pack, since: float, before: int) -> Statement:
        bind = Binder()
        return related(bind, tenant, pack, int(since * 1000), before), bind.params

    def insert_numbers(self, tenant: str, days: Sequence[int], first: int) -> Statement:
        bind = Binder()
        return insert_numbers(bind, tenant, runs(days), first), bind.params

    def insert_days(self, family: str, tenant: str, pack: Pack, days: Sequence[int], revision: int) -> Statement:
        bind = Binder()
        one = COUNTED[family]
        if isinstance(one, Roster):
            return insert_roster(bind, one, tenant, pack, runs(days), revision), bind.params
        return insert_days(bind, one, tenant, pack, runs(days), revision), bind.params

    def ways(self, pack: Pack) -> Mapping[str, int]:
        return {one.id: one.reach for one in declared(pack)}

    def insert_ways(
        self, funnel: str, tenant: str, pack: Pack, days: Sequence[int], revision: int, *, parts: bool
    ) -> list[Statement]:
        one = next(one for one in declared(pack) if one.id == funnel)
        found: list[Statement] = []
        for shards in ([shard] for shard in range(SHARDS)) if parts else [range(SHARDS)]:
            bind = Binder()
            found.append((insert_ways(bind, one, tenant, pack, days, [*shards], revision), bind.params))
        return found

    def counted_days(self, tenant: str, days: Sequence[int]) -> Statement:
        bind = Binder()
        return counted_days(bind, tenant, runs(days)), bind.params

    def told(self, tenant: str, days: Sequence[int]) -> Statement:
        bind = Binder()
        return told(bind, tenant, runs(days)), bind.params
