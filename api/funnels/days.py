"""How far people came from the entries of each day, for declared funnels: counted once their window is over.

Nothing can lengthen such a way any more, so a question about months adds up days: of each day's entries the sets of
users who came no further, and the ways of those who did. Days whose window is open are walked through as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from api.funnels.rows import NUMBERED, FunnelQuestion, held, source
from api.funnels.walk import entries, ways
from api.rollups.counted import NO_USERS, days_where, runs
from api.rollups.coverage import Coverage
from api.slices import DAY_MS, Binder
from schemas.funnels import refs_of, shipped_funnels, steps_known
from schemas.taxonomy.pack import EventRef, Pack

TABLE: Final = "daily_ways"
SHARDS: Final = 8
"""Parts that the users of a day are kept and counted in, by number."""
ALL: Final = Coverage(1 << 20)
"""Every day is in rosters: as ways are counted."""
NOTHING: Final = Coverage(-1 << 20)
"""No day is: as they are checked."""
_SCORE: Final = 1 << 43
"""More than there are milliseconds from 1900 to 2100, and twice as many as from 1970 on."""
_PLACES: Final = 1 << 20
"""More than entries of a user, of those in one millisecond."""


@dataclass(frozen=True)
class Declared:
    """A declared funnel under a pack; `reach`: how many days after an entry's its window may end."""

    id: str
    steps: tuple[tuple[EventRef, ...], ...]
    window_ms: int

    @property
    def reach(self) -> int:
        return -(-self.window_ms // DAY_MS)

    def asks(self, asked: FunnelQuestion) -> bool:
        """Whether a question is about this funnel, as it is declared."""
        mine, theirs = ([{*step} for step in steps] for steps in (self.steps, asked.steps))
        return mine == theirs and self.window_ms == asked.window_ms

    def question(self, tenant: str, pack: Pack, start: int, end: int) -> FunnelQuestion:
        """This funnel from the entries of days [start, end), whatever comes."""
        return FunnelQuestion(tenant, pack, self.steps, start * DAY_MS, end * DAY_MS, self.window_ms, 1 << 60)


def declared(pack: Pack) -> list[Declared]:
    """The funnels of a pack whose steps are all in rosters."""
    found = []
    for one in shipped_funnels().funnels:
        if steps_known(one, pack):
            steps = tuple(tuple(ref for source in step.events for ref in refs_of(source, pack)) for step in one.steps)
            if held(pack, steps):
                found.append(Declared(one.id, steps, int(one.window * 1000)))
    return found


def closed_statement(bind: Binder, asked: FunnelQuestion, covered: Coverage | None) -> str | None:
    """The SELECT of `api.funnels.statement` out of days that are counted, and a walk from the other entries.

    None where no day is.
    """
    one = next((one for one in declared(asked.pack) if one.asks(asked)), None)
    if one is None or covered is None or asked.filters or asked.split:
        return None
    days, pieces = covered.entries(asked.start_ms, asked.end_ms, one.reach)
    if not days:
        return None
    where = f"tenant = {bind(asked.tenant)} AND funnel = {bind(one.id)} AND {days_where(bind, days)}"
    counted = f"{TABLE} FINAL WHERE {where}"
    found = [
        "SELECT toUInt128(number) AS person, way "
        f"FROM (SELECT users, ways FROM {counted}) ARRAY JOIN users AS number, ways AS way"
    ]
    if pieces:
        rest = replace(asked, entries=pieces)
        found.append(ways(bind, rest, *source(bind, rest, covered, numbers=True)))
    singles = f"(SELECT groupBitmapMergeState(singles) FROM {counted})"
    return f"SELECT {_told(singles, len(asked.steps))} FROM ({_best(found, len(asked.steps))})"


def _best(parts: Sequence[str], steps: int) -> str:
    """The SELECT of each person's furthest way: how many `steps`, and the time of each as `t1`, `t2` and so on."""
    names = range(1, steps + 1)
    times = ", ".join(f"way[{at}] AS s{at}" for at in names)
    scored = f"SELECT person, {_score('length(way)', 'way[1]')} AS score, {times}"
    chosen = ", ".join(f"argMax(s{at}, score) AS t{at}" for at in names)
    rows = f"{scored} FROM ({' UNION ALL '.join(parts)})"
    return f"SELECT person, intDiv(max(score), {_SCORE}) AS steps, {chosen} FROM ({rows}) GROUP BY person"


def _score(steps: str, entry: str) -> str:
    """SQL: of a user's ways the one that goes furthest scores most; of equally long ones that of the first entry."""
    return f"{steps} * {_SCORE} + {_SCORE // 2} - {entry}"


def _told(singles: str, steps: int) -> str:
    """The numbers of a funnel over rows of `_best`; `singles`: the set of those who came no further on counted days."""
    known = f"groupBitmapStateIf(toUInt32(person), person < {NUMBERED})"
    entered = f"bitmapOrCardinality({known}, {singles}) + countIf(person >= {NUMBERED})"
    users = [entered, *(f"countIf(steps >= {at})" for at in range(2, steps + 1))]
    gaps = [(f"t{at + 1} - t{at}", f"steps > {at}") for at in range(1, steps)]
    sums = ", ".join(f"sumIf({gap}, {made})" for gap, made in gaps)
    quantiles = ", ".join(f"quantilesExactInclusiveIf(0.5, 0.9)({gap}, {made})" for gap, made in gaps)
    whole = f"t{steps} - t1, steps = {steps}"
    return (
        f"'', [{', '.join(users)}], [{sums}], [{quantiles}], sumIf({whole}), "
        f"quantilesExactInclusiveIf(0.5, 0.9)({whole})"
    )


def way_days(
    bind: Binder,
    one: Declared,
    tenant: str,
    pack: Pack,
    days: Sequence[int],
    shards: Sequence[int],
    covered: Coverage = ALL,
) -> str:
    """The SELECT of (day, shard, singles, users, ways) of some days and shards; none of empty ones."""
    asked = one.question(tenant, pack, min(days), max(days) + 1)
    rows, _ = source(bind, asked, covered, numbers=True)
    known = f"SELECT toUInt32(person) AS number, at, fits FROM {rows} WHERE person < {NUMBERED}"
    mine = f"(SELECT * FROM ({known}) WHERE number % {SHARDS} IN {bind(list(shards), 'Array(UInt8)')})"
    names = range(1, len(asked.steps) + 1)
    joined = ", ".join(["steps AS n", "arrayEnumerate(steps) AS place", *(f"t{at} AS s{at}" for at in names)])
    # Of two entries in one millisecond that come equally far the first one counts.
    score = f"toInt128({_score('n', 's1')}) * {_PLACES} - least(place, {_PLACES - 1}) AS score"
    each = (
        "SELECT number, toDate32(fromUnixTimestamp64Milli(s1, 'UTC')) AS day, n, "
        f"{', '.join(f's{at}' for at in names)}, {score} FROM ({entries(bind, asked, mine, 'number')}) "
        f"ARRAY JOIN {joined} WHERE {days_where(bind, runs(days))}"
    )
    times = ", ".join(f"argMax(s{at}, score)" for at in names)
    best = f"SELECT day, number, arraySlice([{times}], 1, argMax(n, score)) AS way FROM ({each}) GROUP BY day, number"
    further = "arraySort(groupArrayIf((number, way), length(way) > 1))"
    grouped = (
        f"SELECT day, toUInt8(number % {SHARDS}) AS shard, groupBitmapStateIf(number, length(way) = 1) AS singles, "
        f"{further} AS further FROM ({best}) GROUP BY day, shard"
    )
    return f"SELECT day, shard, singles, further.1 AS users, further.2 AS ways FROM ({grouped})"


def insert_ways(
    bind: Binder, one: Declared, tenant: str, pack: Pack, days: Sequence[int], shards: Sequence[int], revision: int
) -> str:
    """The INSERT of some days and shards, also of those that have nothing (any more)."""
    nothing = (
        f"SELECT toDate32(arrayJoin({bind(list(days), 'Array(Int32)')})) AS day, "
        f"arrayJoin({bind(list(shards), 'Array(UInt8)')}) AS shard, {NO_USERS} AS singles, "
        "emptyArrayUInt32() AS users, arraySlice([emptyArrayInt64()], 1, 0) AS ways"
    )
    counted = way_days(bind, one, tenant, pack, days, shards)
    return (
        f"INSERT INTO {TABLE} (tenant, funnel, day, shard, singles, users, ways, revision) "
        f"SELECT {bind(tenant)}, {bind(one.id)}, day, shard, groupBitmapMergeState(singles), groupArrayArray(users), "
        f"groupArrayArray(ways), {bind(revision, 'UInt64')} FROM ({counted} UNION ALL {nothing}) GROUP BY day, shard"
    )


def compared_ways(bind: Binder, one: Declared, tenant: str, pack: Pack, days: Sequence[int]) -> str:
    """The SELECT of days and shards whose stored ways are not what the events say."""
    stored = (
        f"SELECT day, shard, singles, users, ways FROM {TABLE} FINAL WHERE tenant = {bind(tenant)} "
        f"AND funnel = {bind(one.id)} AND {days_where(bind, runs(days))} "
        "AND (notEmpty(users) OR bitmapCardinality(singles) > 0)"
    )
    counted = way_days(bind, one, tenant, pack, days, range(SHARDS), NOTHING)
    both = f"SELECT * FROM ({counted}) UNION ALL SELECT * FROM ({stored})"
    return (
        "SELECT '' AS dimension, day, toString(shard) AS value, groupArray(length(users)) AS events_found, "
        f"groupArray(bitmapCardinality(singles)) AS users_found FROM ({both}) GROUP BY day, shard "
        "HAVING NOT (count() = 2 AND length(groupUniqArray((users, ways, bitmapToArray(singles)))) = 1) "
        "ORDER BY day, shard"
    )
