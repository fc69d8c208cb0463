"""The one statement of a funnel: of each user the way that goes furthest. How ways are chosen: docs/funnels.md."""

from __future__ import annotations

from api.funnels.days import closed_statement
from api.funnels.rows import LATER, FunnelQuestion, event_rows, source
from api.funnels.walk import Kinds, fits_any, furthest, walked, ways
from api.rollups.coverage import Coverage
from api.slices import Binder


def statement(asked: FunnelQuestion, covered: Coverage | None = None) -> tuple[str, dict[str, object]]:
    """The SELECT with its bound values: a row for each value of the split ('' without one), the most users first.

    A row: value; users of each step; of the time (ms) between steps the sums, and median and p90 of each; of the whole
    way the sum, and median and p90. `covered`: the rollups that may be used.
    """
    bind, done = Binder(), f"length(way) = {len(asked.steps)}"
    closed = closed_statement(bind, asked, covered)
    if closed:
        return closed, bind.params
    times = (
        "sumForEach(gaps), quantilesExactInclusiveForEach(0.5, 0.9)(gaps), "
        f"sumIf(whole, {done}), quantilesExactInclusiveIf(0.5, 0.9)(whole, {done})"
    )
    timed = "way, arrayPopFront(arrayDifference(way)) AS gaps, way[-1] - way[1] AS whole"
    found = _split_ways(bind, asked) if asked.split else _ways(bind, asked, covered)
    grouped = f"SELECT value, countForEach(way), {times} FROM (SELECT value, {timed} FROM ({found})) GROUP BY value"
    return f"{grouped} ORDER BY count() DESC, value LIMIT {bind(asked.limit, 'UInt32')}", bind.params


def _ways(bind: Binder, asked: FunnelQuestion, covered: Coverage | None) -> str:
    return f"SELECT '' AS value, way FROM ({ways(bind, asked, *source(bind, asked, covered))})"


def _split_ways(bind: Binder, asked: FunnelQuestion) -> str:
    """For each user and each value that one of the user's entries has: the funnel filtered by that value."""
    people = (
        "SELECT groupArray((at, fits, value, bound)) AS events, groupUniqArrayIf(value, bitAnd(fits, 1) = 1) AS values "
        f"FROM {event_rows(bind, asked)} GROUP BY user_id HAVING notEmpty(values)"
    )
    own = "arrayFilter(e -> NOT e.4 OR e.3 = value, events)"
    key = Kinds.of(asked.steps).key(bind, "e.1", f"if(e.3 = value, e.2, bitAnd(e.2, {LATER}))")
    keys = f"arraySort(arrayFilter(k -> {fits_any('k')}, arrayMap(e -> {key}, {own}))) AS keys"
    by_value = f"SELECT value, {keys} FROM ({people}) ARRAY JOIN values AS value"
    return furthest(walked(bind, asked, by_value, "value"), asked, "value")
