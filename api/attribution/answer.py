"""The attribution answer: what each model credits to each group, and what was spent for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from api.attribution.asked import Asked, By
from api.attribution.journeys import CONVERSIONS, NEWCOMERS, REVENUE, Journeys, Observed, read_journeys
from api.attribution.models import Credit, Credited, Path, Rules, credited, total
from api.cells import Cells
from api.context import Context
from api.experiments import ROLES, Experiments, read_experiments
from api.ledger import INCOMPLETE_BELOW
from api.measures import MEASURES, read_cells
from api.problems import invalid
from api.times import iso
from schemas.wire import MICROS

Object = dict[str, Any]


@dataclass(frozen=True)
class Beside:
    """What stands beside the credit, by group: money spent (millionths; None: not known for this question), people who
    signed up through it and what they paid in their first year, and experiments."""

    spend: Cells | None
    signed_up: Cells
    first_year: Cells
    experiments: Experiments | None


async def attribution(ctx: Context, asked: Asked, models: Sequence[str], limit: int) -> Object:
    """The JSON object of the endpoint; at most `limit` paths. Raises what the reader raises, and 422 problems."""
    one = asked.slice
    journeys, beside, completeness, as_of = await asyncio.gather(
        read_journeys(ctx.slow, asked),
        _beside(ctx, asked),
        ctx.ledger.completeness(one.tenant, one.start_ms, one.end_ms),
        ctx.ledger.as_of(one.tenant),
    )
    if len({step for path in journeys.paths for step in path.steps}) > ctx.settings.max_groups:
        raise invalid("by", f"more than {ctx.settings.max_groups} groups were touched; ask for a shorter range")
    found = await asyncio.to_thread(credited, journeys.paths, models, _rules(asked))
    return {
        **_head(asked, models),
        **_totals(journeys),
        **_spent(asked, beside.spend),
        "groups": _groups(asked, journeys, found, beside),
        "top_paths": _top(journeys.paths, limit),
        "touches_to_conversion": _distribution(journeys.touches),
        "days_to_conversion": _distribution(journeys.days),
        "completeness": round(completeness, 4),
        "incomplete": completeness < INCOMPLETE_BELOW,
        "as_of": iso(as_of),
        "start": iso(one.start_ms),
        "end": iso(one.end_ms),
    }


def _rules(asked: Asked) -> Rules:
    ends = asked.rules.position_percent
    return Rules(asked.rules.half_life_days.default, Fraction(ends.first, 100), Fraction(ends.last, 100))


async def _beside(ctx: Context, asked: Asked) -> Beside:
    pack, reader = asked.pack, ctx.slow
    split = replace(asked.slice, group_by=asked.dimension)
    spend, lifetime = MEASURES["spend"], [MEASURES["signed_up_users"], MEASURES["first_year_revenue"]]

    async def cells(measures: list[Any], known: bool) -> list[Cells]:
        known = known and all(measure.known_to(pack) for measure in measures)
        return await read_cells(reader, measures, split, pack, 1) if known else [Cells() for _ in measures]

    spending = not split.filters and spend.known_to(pack)
    (spent,), (people, paid), experiments = await asyncio.gather(
        cells([spend], spending), cells(lifetime, True), _experiments(ctx, asked)
    )
    return Beside(spent if spending else None, people, paid, experiments)


async def _experiments(ctx: Context, asked: Asked) -> Experiments | None:
    metric = ctx.dictionary.find("incrementality")
    if asked.by is not By.CAMPAIGN or metric is None or not all(asked.pack.roles.get(role) for role in ROLES):
        return None
    split = replace(asked.slice, group_by=asked.dimension)
    return await read_experiments(ctx.slow, metric, split, asked.pack)


def _head(asked: Asked, models: Sequence[str]) -> Object:
    return {
        "by": asked.by.value,
        "touch": asked.touch,
        "touch_meaning": asked.rules.touches[asked.touch].description,
        "lookback_days": asked.lookback_ms / 86_400_000,
        "half_life_days": asked.half_life_ms / 86_400_000,
        "max_touches": asked.rules.max_touches,
        "models": list(models),
    }


def _totals(journeys: Journeys) -> Object:
    attributed = [total(journeys.paths, which) for which in (CONVERSIONS, REVENUE, NEWCOMERS)]
    both = [a + b for a, b in zip(attributed, journeys.unattributed, strict=True)]
    return {
        **_named(both),
        "attributed": _named(attributed),
        "unattributed": _named([Fraction(n) for n in journeys.unattributed]),
        "null_journeys": sum(int(path.nulls) for path in journeys.paths),
        "shortened_journeys": journeys.shortened,
    }


def _named(totals: Sequence[Fraction]) -> Object:
    return {
        "conversions": _plain(totals[CONVERSIONS]),
        "revenue": float(totals[REVENUE] / MICROS),
        "new_customers": _plain(totals[NEWCOMERS]),
    }


def _spent(asked: Asked, spend: Cells | None) -> Object:
    """All spend, and what names no group; what is null is not known."""
    if spend is None:
        return {"spend": None, "spend_without_group": None}
    return {"spend": spend.at() / MICROS, "spend_without_group": spend.at("") / MICROS}


def _groups(asked: Asked, journeys: Journeys, found: Credited, beside: Beside) -> list[Object]:
    """Those that were touched, spent for, or signed up through; first those in the journeys of most orders."""
    touched: dict[str, int] = {}
    for path in journeys.paths:
        for step in set(path.steps):
            touched[step] = touched.get(step, 0) + int(path.totals[CONVERSIONS])
    names = {*touched, *(group for group in beside.spend or () if group)}
    ordered = sorted(names, key=lambda name: (-touched.get(name, 0), name))
    return [{"group": name, **_group(asked, name, touched.get(name, 0), found, beside)} for name in ordered]


def _group(asked: Asked, name: str, touched: int, found: Credited, beside: Beside) -> Object:
    spend = _spend_of(asked, name, beside.spend)
    models = {model: _credit(credit, name, spend) for model, credit in found.models.items()}
    revenues = [_of(credit, name)[REVENUE] for credit in found.models.values()]
    people = beside.signed_up.at(name)
    return {
        "conversions_touched": touched,
        "models": models,
        "spread_percent": spread_percent(revenues),
        "removal_effect": found.removal.get(name, 0.0) if "markov" in found.models else None,
        "spend": None if spend is None else float(spend),
        "signed_up_users": people,
        "ltv": float(Fraction(beside.first_year.at(name), MICROS * people)) if people else None,
        "incremental": _incremental(name, found.models.get("last"), beside.experiments),
    }


def _spend_of(asked: Asked, name: str, spend: Cells | None) -> Fraction | None:
    """In currency. Spend always names a campaign, but a channel only sometimes: one without a record is not known."""
    if spend is None or (asked.by is By.CHANNEL and name not in spend):
        return None
    return Fraction(spend.at(name), MICROS)


def _of(credit: Credit, name: str) -> list[Fraction]:
    return credit.get(name) or [Fraction(0)] * 3


def _credit(credit: Credit, name: str, spend: Fraction | None) -> Object:
    conversions, micros, newcomers = _of(credit, name)
    revenue = micros / MICROS
    return {
        "conversions": float(conversions),
        "revenue": float(revenue),
        "new_customers": float(newcomers),
        "roi": float((revenue - spend) / spend) if spend else None,
        "cac": float(spend / newcomers) if spend is not None and newcomers else None,
    }


def spread_percent(values: Sequence[Fraction]) -> float | None:
    """How far the largest is above the smallest, in percent of their mean; None of fewer than two, or of nothing."""
    mean = sum(values, Fraction(0)) / len(values) if len(values) > 1 else Fraction(0)
    return float((max(values) - min(values)) / mean * 100) if mean else None


def _incremental(name: str, last: Credit | None, experiments: Experiments | None) -> Object | None:
    """What the holdout says the campaign caused, beside last touch; None without somebody on both sides."""
    if experiments is None:
        return None
    found = experiments.at(name, None)
    if not found["treated_users"]:
        return None
    attributed = None if last is None else float(_of(last, name)[CONVERSIONS])
    return {
        "conversions": found["numerator"],
        "attributed": attributed,
        "gap": None if attributed is None else attributed - found["numerator"],
        **{key: found[key] for key in ("p_value", "treated_users", "control_users")},
    }


def _top(paths: Sequence[Path], limit: int) -> list[Object]:
    ordered = sorted(paths, key=lambda path: (-path.totals[CONVERSIONS], -path.nulls, path.steps))
    return [_path(path) for path in ordered[:limit]]


def _path(path: Path) -> Object:
    conversions, micros, _ = (Fraction(n) for n in path.totals)
    journeys = conversions + path.nulls
    return {
        "path": list(path.steps),
        "count": _plain(conversions),
        "nulls": int(path.nulls),
        "conversion_rate": float(conversions / journeys * 100) if journeys else None,
        "revenue": float(micros / MICROS),
        "mean_order_value": float(micros / MICROS / conversions) if conversions else None,
    }


def _distribution(seen: Observed) -> Object:
    ends: list[int | None] = [*(begin for begin, _ in seen.bars[1:]), None]
    bars = [{"from": begin, "below": end, "count": n} for (begin, n), end in zip(seen.bars, ends, strict=True)]
    return {"count": seen.count, **seen.quantiles, "histogram": bars}


def _plain(number: Fraction) -> int | float:
    return int(number) if number.denominator == 1 else float(number)
