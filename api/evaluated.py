"""Metrics of the models themselves: how good each was when it was judged last, on labels it had not learnt from yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from api.reader import Reader
from api.slices import Binder, Slice, bucket_sql
from schemas.metrics import Metric

EVALUATED: Final = frozenset({"auc"})
"""Measures of `evaluations` that a metric may name; of each, a larger one is better."""


class Judged(NamedTuple):
    """What a model was worth at a moment (Unix ms): the measure, and how many labels it is of."""

    at: int
    value: float
    n: int


@dataclass(frozen=True)
class Evaluations:
    """What the metric endpoint asks of a metric's cells, answered from judgements: by model and point, the newest."""

    newest: Mapping[tuple[str, int], Judged]

    def groups(self) -> set[str]:
        """None: a judgement is of all users."""
        return set()

    def at(self, group: str | None, point: int | None) -> dict[str, Any]:
        """`value` of the worst `model`, by its newest judgement; as `numerator`, by how many labels it was judged."""
        last: dict[str, Judged] = {}
        for (model, bucket), judged in self.newest.items():
            if point in (None, bucket):
                last[model] = max(judged, last.get(model, judged))
        worst = min(last, key=lambda model: (last[model].value, model), default=None)
        if worst is None:
            return {"value": None, "numerator": 0, "denominator": None, "model": None}
        return {"value": last[worst].value, "numerator": last[worst].n, "denominator": None, "model": worst}


async def read_evaluations(reader: Reader, metric: Metric, asked: Slice) -> Evaluations:
    """The judgements of a range. Raises what the reader raises."""
    bind = Binder()
    point = bucket_sql(asked.interval, "as_of") if asked.interval else "toInt64(0)"
    sql = (
        f"SELECT toString(model), {point} AS point, toUnixTimestamp64Milli(max(as_of)), "
        "argMax(value, (as_of, version)), argMax(n, (as_of, version)) FROM evaluations "
        f"WHERE tenant = {bind(asked.tenant)} AND metric = {bind(metric.measures.numerator)} "
        f"AND as_of >= {bind.time(asked.start_ms)} AND as_of < {bind.time(asked.end_ms)} GROUP BY model, point"
    )
    rows = await reader.rows(sql, bind.params)
    return Evaluations(
        {(model, int(at)): Judged(int(last), float(value), int(n)) for model, at, last, value, n in rows}
    )
