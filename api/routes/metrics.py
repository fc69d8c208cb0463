"""`GET /metrics` (the dictionary), `GET /metrics/{metric_id}`, and the same metric at the root."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from api.context import Caller, Context, Ctx, Who
from api.metrics import known_to
from api.problems import not_found
from api.query import Empty, MetricQuery
from schemas.metrics import Metric

router = APIRouter(tags=["metrics"])
alias = APIRouter(tags=["metrics"])
MetricId = Annotated[str, Path(max_length=64)]


@router.get("/metrics", summary="The metric dictionary")
async def dictionary(ctx: Ctx, who: Who, query: Annotated[Empty, Query()]) -> dict[str, Any]:
    """Every metric that the taxonomy pack of this key can answer."""
    return {"metrics": [_entry(metric) for metric in available(ctx, who)]}


@router.get("/metrics/{metric_id}", summary="One metric, in total, by group and over time")
async def metric(ctx: Ctx, who: Who, metric_id: MetricId, query: Annotated[MetricQuery, Query()]) -> dict[str, Any]:
    """`value` is null where the denominator is 0. Without `start` the metric's own window before `end` is read."""
    return await _answer(ctx, who, metric_id, query)


@alias.get("/metrics/{metric_id}", summary="One metric, also under its own name")
async def metric_alias(
    ctx: Ctx, who: Who, metric_id: MetricId, query: Annotated[MetricQuery, Query()]
) -> dict[str, Any]:
    """The same object, with the value under the metric's id and the completeness as a confidence from 0 to 1."""
    answer = await _answer(ctx, who, metric_id, query)
    return {answer["metric"]: answer["value"], "confidence": answer["completeness"] / 100, **answer}


def available(ctx: Context, who: Caller) -> list[Metric]:
    """The metrics whose measures the pack of this key declares."""
    return [metric for metric in ctx.dictionary.metrics if known_to(metric, who.pack)]


async def _answer(ctx: Context, who: Caller, metric_id: str, query: MetricQuery) -> dict[str, Any]:
    found = ctx.dictionary.find(metric_id)
    if found is None or not known_to(found, who.pack):
        raise not_found("metric", metric_id, [one.id for one in available(ctx, who)])
    asked = query.slice(found, who.tenant, ctx.now_ms(), ctx.settings)
    return await ctx.metrics.answer(found, asked, who.pack, query.limit, against=query.compare)


def _entry(metric: Metric) -> dict[str, Any]:
    shown = metric.model_dump(mode="json", exclude={"measures", "by_campaign"})
    return {**shown, "numerator": metric.measures.numerator, "denominator": metric.measures.denominator}
