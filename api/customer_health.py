"""How healthy customers are: one of them explained, and all of them by category and segment. Reads only.

The arithmetic is the statement of `api.health_rows`, for one customer as for all; here it is shown.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from api.health_rows import DAY, SCORED, WHOLE, scored
from api.ledger import INCOMPLETE_BELOW, LedgerReader
from api.reader import Reader, Row
from api.slices import Binder
from api.times import iso
from schemas.health import Health
from schemas.health.model import PARTS
from schemas.taxonomy.pack import Pack
from schemas.wire import MICROS

SEGMENTS: Final = 200
"""Segments that an answer shows, the largest ones."""


@dataclass
class HealthReader:
    """Reads the health of a tenant's customers. Times in ms. Raises what the reader raises."""

    reader: Reader
    ledger: LedgerReader
    declared: Health

    async def one(self, tenant: str, pack: Pack, user_id: str, at: int) -> dict[str, Any] | None:
        """One customer as of a moment and before; None when nobody of that id was a customer then."""
        moments = [at, *(at - days * DAY for days in self.declared.trend_days)]
        bind = Binder()
        sql = f"SELECT {', '.join(SCORED)} FROM {scored(bind, tenant, pack, self.declared, moments, user_id)}"
        rows, known = await asyncio.gather(self.reader.rows(sql, bind.params), self._known(tenant, at))
        found = {int(row[1]): dict(zip(SCORED, row, strict=True)) for row in rows}
        if at not in found:
            return None
        now = found[at]
        return {
            "user_id": user_id,
            "segment": now["segment"] or None,
            "score": _points(now["score"]),
            "category": self._category(now["score"]),
            "parts": [self._part(name, now) for name in PARTS],
            "trend": [self._before(now, found.get(then), days, then) for days, then in self._trend(at)],
            "declared": self.declared.model_dump(),
            **known,
        }

    async def all(self, tenant: str, pack: Pack, at: int, limit: int) -> dict[str, Any]:
        """All customers as of a moment by category and segment, and who fell; `limit`: most of these to list."""
        before = at - self.declared.drop_days * DAY
        counts, fell, known = await asyncio.gather(
            self._counts(tenant, pack, [at, before]),
            self._fell(tenant, pack, at, before, limit),
            self._known(tenant, at),
        )
        now = [row for row in counts if int(row[0]) == at]
        segments = sorted({row[1] for row in now})
        by_segment = [
            {"segment": name or None, **self._sums([row for row in now if row[1] == name])} for name in segments
        ]
        by_segment.sort(key=lambda one: (-one["customers"], one["segment"] or ""))
        return {
            **self._sums(now),
            "segments": by_segment[:SEGMENTS],
            "before": {"at": iso(before), **self._sums([row for row in counts if int(row[0]) == before])},
            "dropped": {"customers": int(fell[0][0]) if fell else 0, "listed": [self._fallen(row) for row in fell]},
            "declared": self.declared.model_dump(),
            **known,
        }

    def _trend(self, at: int) -> list[tuple[int, int]]:
        return [(days, at - days * DAY) for days in self.declared.trend_days]

    async def _counts(self, tenant: str, pack: Pack, moments: Sequence[int]) -> list[Row]:
        """(moment, segment, category, customers, sum of scores)."""
        bind = Binder()
        rows = scored(bind, tenant, pack, self.declared, moments)
        bounds = bind([one.from_score * 100 for one in self.declared.categories], "Array(Int64)")
        rank = f"arrayFirstIndex(bound -> score >= bound, {bounds}) - 1"
        sql = f"SELECT moment, segment, {rank} AS rank, count(), sum(score) FROM {rows} GROUP BY moment, segment, rank"
        return list(await self.reader.rows(sql, bind.params))

    async def _fell(self, tenant: str, pack: Pack, at: int, before: int, limit: int) -> list[Row]:
        """(how many fell, user, segment, score now, score before), the deepest fall first."""
        bind = Binder()
        rows = scored(bind, tenant, pack, self.declared, [at, before])
        now = bind(at, "Int64")
        both = (
            f"SELECT user_id, maxIf(segment, moment = {now}) AS latest, sumIf(score, moment = {now}) AS current, "
            f"sumIf(score, moment != {now}) AS earlier FROM {rows} GROUP BY user_id HAVING count() = 2"
        )
        sql = (
            f"SELECT count() OVER (), user_id, latest, current, earlier FROM ({both}) "
            f"WHERE earlier - current >= {bind(self.declared.drop_points * 100, 'Int64')} "
            f"ORDER BY earlier - current DESC, user_id LIMIT {bind(limit, 'UInt32')}"
        )
        return list(await self.reader.rows(sql, bind.params))

    async def _known(self, tenant: str, at: int) -> dict[str, Any]:
        start = at - self.declared.longest_days * DAY
        completeness, as_of = await asyncio.gather(
            self.ledger.completeness(tenant, start, at), self.ledger.as_of(tenant)
        )
        return {
            "at": iso(at),
            "start": iso(start),
            "end": iso(at),
            "as_of": iso(as_of),
            "completeness": round(completeness, 4),
            "incomplete": completeness < INCOMPLETE_BELOW,
        }

    def _category(self, hundredths: int) -> str:
        return next(one.id for one in self.declared.categories if hundredths >= one.from_score * 100)

    def _part(self, name: str, row: dict[str, Any]) -> dict[str, Any]:
        weight = self.declared.weights[name]
        return {
            "part": name,
            "points": _points(row[name]),
            "weight": weight,
            "contribution": int(row[name]) * weight / WHOLE,
            "inputs": _INPUTS[name](row),
        }

    def _before(self, now: dict[str, Any], then: dict[str, Any] | None, days: int, at: int) -> dict[str, Any]:
        score = None if then is None else int(then["score"])
        return {
            "days_ago": days,
            "at": iso(at),
            "score": None if score is None else _points(score),
            "category": None if score is None else self._category(score),
            "change": None if score is None else _points(int(now["score"]) - score),
        }

    def _sums(self, rows: Sequence[Row]) -> dict[str, Any]:
        total, points = sum(int(row[3]) for row in rows), sum(int(row[4]) for row in rows)
        counts: Counter[str] = Counter()
        for _, _, rank, n, _ in rows:
            counts[self.declared.categories[int(rank)].id] += int(n)
        return {
            "customers": total,
            "mean_score": points / (100 * total) if total else None,
            "categories": [
                {
                    "category": one.id,
                    "customers": counts[one.id],
                    "share_percent": 100 * counts[one.id] / total if total else None,
                }
                for one in self.declared.categories
            ],
        }

    def _fallen(self, row: Row) -> dict[str, Any]:
        _, user_id, segment, score, earlier = row
        return {
            "user_id": user_id,
            "segment": segment or None,
            "score": _points(score),
            "category": self._category(int(score)),
            "score_before": _points(earlier),
            "category_before": self._category(int(earlier)),
            "change": _points(int(score) - int(earlier)),
        }


_INPUTS: Final[Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "recency": lambda row: {
        "last_active": iso(int(row["last_active"])),
        "days_since": (int(row["moment"]) - int(row["last_active"])) / DAY,
    },
    "frequency": lambda row: {
        "active_days": int(row["recent_days"]),
        "active_days_before": int(row["days_before"]),
    },
    "monetary": lambda row: {"paid": int(row["paid"]) / MICROS},
    "breadth": lambda row: {"kinds_of_activity": int(row["kinds"])},
    "loyalty": lambda row: {
        "opted_out_of_some": bool(row["left_some"]),
        "opted_out_of_all": bool(row["left_all"]),
    },
}
"""What each part was scored from, by its name."""


def _points(hundredths: int) -> float:
    return int(hundredths) / 100
