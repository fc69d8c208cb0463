"""`GET /evaluations`: how good the models are, as they were measured before each label was learnt."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from api.context import Ctx, Who
from api.query import Name, RangeQuery
from api.slices import Binder
from api.times import iso

router = APIRouter(tags=["models"])
_QUARTER: Final = 90 * 86_400_000
_MOST: Final = 5_000


class EvaluationQuery(RangeQuery):
    """`GET /evaluations`."""

    model: Name | None = None


@router.get("/evaluations", summary="Model quality")
async def evaluations(ctx: Ctx, who: Who, query: Annotated[EvaluationQuery, Query()]) -> dict[str, Any]:
    """The newest value of each measure, and its history in the range (default: 90 days)."""
    start, end = query.range(ctx.now_ms(), _QUARTER, ctx.settings)
    bind = Binder()
    only = "" if query.model is None else f" AND model = {bind(query.model)}"
    sql = (
        "SELECT model, model_version, toUnixTimestamp64Milli(as_of), metric, value, n FROM evaluations FINAL "
        f"WHERE tenant = {bind(who.tenant)} AND as_of >= {bind.time(start)} AND as_of < {bind.time(end)}{only} "
        f"ORDER BY as_of DESC, model, metric LIMIT {bind(_MOST, 'UInt32')}"
    )
    models: dict[str, dict[str, Any]] = {}
    for model, version, as_of, metric, value, n in reversed(await ctx.reader.rows(sql, bind.params)):
        entry = models.setdefault(model, {"model": model, "metrics": {}, "history": []})
        entry.update(model_version=version, as_of=iso(as_of))
        entry["metrics"][metric] = {"value": value, "n": int(n)}
        entry["history"].append({"as_of": iso(as_of), "metric": metric, "value": value, "n": int(n)})
    return {"models": [models[name] for name in sorted(models)]}
