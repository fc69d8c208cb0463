"""`GET /metrics` (the dictionary), `GET /metrics/{metric_id}`, and the same metric at the root."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from api.context import Caller, Context, Ctx, Who
from api.filters import check_filters
from api.members import with_members
from api.metrics import by_people, known_to
from api.problems import invalid, not_found
from api.query import Empty, MetricQuery, MetricsQuery
from api.slices import Slice
from schemas.metrics import Metric
from schemas.taxonomy.pack import column_values

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


@router.get("/query", summary="Several metrics about the same")
async def several(ctx: Ctx, who: Who, query: Annotated[MetricsQuery, Query()]) -> dict[str, Any]:
    """An answer of `GET /metrics/{metric_id}` for each of `metrics`, in their order; all, or a refusal.

    Faster than one by one: what they have in common is read once.
    """
    known = {metric.id: metric for metric in available(ctx, who)}
    known |= {alias: metric for metric in known.values() for alias in metric.aliases}
    for metric_id in query.ids:
        if metric_id not in known:
            raise invalid("metrics", f"{metric_id[:60]!r} is not known", sorted(known))
    now = ctx.now_ms()
    asked = [(known[one], await _slice(ctx, who, known[one], query, now)) for one in query.ids]
    await check_filters(ctx.reader, who.pack, asked[0][1])
    metrics, as_of = ctx.metrics.together(), await ctx.ledger.as_of(who.tenant)
    found = (metrics.answer(one, about, who.pack, query.limit, as_of, query.compare) for one, about in asked)
    return {"metrics": await asyncio.gather(*found)}


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
    asked = await _slice(ctx, who, found, query, ctx.now_ms())
    await check_filters(ctx.reader, who.pack, asked)
    return await ctx.metrics.answer(found, asked, who.pack, query.limit, against=query.compare)


async def _slice(ctx: Context, who: Caller, metric: Metric, query: MetricQuery, now_ms: int) -> Slice:
    """What is asked, with the members of a custom segment where one is named."""
    asked = query.slice(metric, who.tenant, now_ms, ctx.settings)
    filters = await with_members(ctx, who, asked.filters, asked.end_ms)
    if filters != asked.filters and not by_people(metric):
        message = f"{metric.id} shares out what no user has; it is known by the behaviour patterns only"
        raise invalid("segment", message, list(column_values(who.pack, "segment")))
    return replace(asked, filters=filters)


def _entry(metric: Metric) -> dict[str, Any]:
    shown = metric.model_dump(mode="json", exclude={"measures", "by_campaign"})
    return {**shown, "numerator": metric.measures.numerator, "denominator": metric.measures.denominator}
