"""RFM: the users who bought in a range, by how recently, how often and for how much, in declared clusters.

A score is 1 plus five times the users who do worse, over all of them, rounded down: equal users get equal scores, and
the order of events does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

from api.reader import Reader
from api.slices import Binder
from api.sources import order_rows
from schemas.segments import Clusters
from schemas.taxonomy.pack import Pack
from schemas.wire import MICROS

DAY_MS: Final = 86_400_000
_SCORE: Final = "1 + intDiv(5 * (rank() OVER (ORDER BY {}) - 1), count() OVER ())"


def scored_rows(bind: Binder, tenant: str, pack: Pack, start_ms: int, end_ms: int) -> str:
    """A subquery of users who bought in [start, end): `last`, `n`, `paid`, and the scores `r`, `f` and `m`."""
    columns = ("user_id", "amount_micros")
    rows = order_rows(bind, tenant, pack.roles["purchase"], columns, before_ms=end_ms, by_campaign=False)
    users = (
        "SELECT user_id, max(timestamp) AS last, count() AS n, sum(toInt128(amount_micros)) AS paid "
        f"FROM {rows} WHERE {bind.since(start_ms)} GROUP BY user_id"
    )
    scores = ", ".join(f"{_SCORE.format(value)} AS {name}" for name, value in zip("rfm", _VALUES, strict=True))
    return f"(SELECT *, {scores} FROM ({users}))"


_VALUES: Final = ("last", "n", "paid")


def cluster_rows(bind: Binder, tenant: str, pack: Pack, clusters: Clusters, end_ms: int) -> str:
    """A subquery of users with their `cluster`, by the declared window before the end."""
    by_scores = clusters.by_scores()
    codes = bind([r * 100 + f * 10 + m for r, f, m in by_scores], "Array(UInt64)")
    names = bind(list(by_scores.values()), "Array(String)")
    rows = scored_rows(bind, tenant, pack, end_ms - clusters.window_days * DAY_MS, end_ms)
    return f"(SELECT user_id, transform(toUInt64(r * 100 + f * 10 + m), {codes}, {names}, '') AS cluster FROM {rows})"


async def read_rfm(
    reader: Reader, tenant: str, pack: Pack, clusters: Clusters, start_ms: int, end_ms: int
) -> dict[str, Any]:
    """The clusters with their sizes and averages, empty ones too. Raises what the reader raises."""
    bind = Binder()
    rows = scored_rows(bind, tenant, pack, start_ms, end_ms)
    age = f"sum({bind(end_ms, 'Int64')} - toUnixTimestamp64Milli(last))"
    sql = f"SELECT r, f, m, count(), {age}, sum(n), sum(paid) FROM {rows} GROUP BY r, f, m"
    found: dict[str, list[int]] = {name: [0] * 7 for name in clusters.clusters}
    by_scores = clusters.by_scores()
    for r, f, m, users, *sums in await reader.rows(sql, bind.params):
        scores = (int(r), int(f), int(m))
        more = [int(users), *(int(one) for one in sums), *(score * int(users) for score in scores)]
        found[by_scores[scores]] = [a + b for a, b in zip(found[by_scores[scores]], more, strict=True)]
    total = sum(sums[0] for sums in found.values())
    return {
        "users": total,
        "clusters": [
            {"id": name, "name": one.name, "description": one.description, **_numbers(found[name], total)}
            for name, one in clusters.clusters.items()
        ],
    }


def _numbers(sums: Sequence[int], total: int) -> dict[str, Any]:
    users, age, orders, paid, *scores = sums
    return {
        "users": users,
        "share": ratio(users * 100, total),
        "avg_recency_days": ratio(age, users * DAY_MS),
        "avg_orders": ratio(orders, users),
        "avg_spend": ratio(paid, users * MICROS),
        "orders": orders,
        "spend": float(Fraction(paid, MICROS)),
        **{f"avg_{name}": ratio(score, users) for name, score in zip("rfm", scores, strict=True)},
    }


def ratio(above: int, below: int) -> float | None:
    """A quotient of whole numbers, rounded once; None over nothing."""
    return float(Fraction(above, below)) if below else None
