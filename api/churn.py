"""Churn predictions as the API shows them: read from `predictions` and `user_state`, never computed here. What a user
is worth is the sum of the user's orders, each once however often it was reported, as in segments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from api.reader import Reader, Row
from api.slices import Binder
from api.sources import order_rows, orders_of
from api.times import iso
from online_models.churn import HORIZON_DAYS, TIERS, ChurnModel, recommended_action
from schemas.taxonomy.pack import Pack
from schemas.wire import MICROS

MODEL: Final = ChurnModel.name
_AT_RISK: Final = next(lowest for tier, lowest in TIERS if tier == "medium")
_MONTH_MS: Final = 30.4375 * 86_400_000
_TOP: Final = 3
_NOTE: Final = (
    f"A probability becomes true or false {HORIZON_DAYS} days after as_of; the model learns from it only then."
)


async def at_risk(
    reader: Reader, tenant: str, pack: Pack, tier: str | None, least: float | None, limit: int, offset: int
) -> dict[str, Any]:
    """Users by what was said of them last, worst first, and the sums over everybody at risk."""
    users, summary = await asyncio.gather(
        _users(reader, tenant, pack, tier, least, limit, offset), _summary(reader, tenant, pack)
    )
    as_of, version, counts, revenue = summary
    return {
        "atRiskUsers": users,
        "summary": {
            "totalAtRisk": sum(counts.values()),
            "criticalRisk": counts.get("critical", 0),
            "highRisk": counts.get("high", 0),
            "mediumRisk": counts.get("medium", 0),
            "potentialRevenueAtRisk": revenue,
        },
        "modelVersion": version,
        "as_of": iso(as_of),
    }


async def one_user(reader: Reader, tenant: str, user_id: str) -> dict[str, Any] | None:
    """The newest prediction about one user, explained; None when there is none."""
    bind = Binder()
    sql = (
        "SELECT probability, tier, model, model_version, prediction_id, toUnixTimestamp64Milli(as_of), base, "
        f"contributions, features FROM predictions FINAL WHERE tenant = {bind(tenant)} AND model = {bind(MODEL)} "
        f"AND subject_id = {bind(user_id)} ORDER BY as_of DESC LIMIT 1"
    )
    rows = await reader.rows(sql, bind.params)
    if not rows:
        return None
    probability, tier, model, version, prediction_id, as_of, base, contributions, features = rows[0]
    return {
        "user_id": user_id,
        "probability": probability,
        "tier": tier,
        "model": model,
        "model_version": version,
        "prediction_id": prediction_id,
        "as_of": iso(as_of),
        "base": base,
        "contributions": [
            {"feature": name, "contribution": value, "value": features.get(name)}
            for name, value in _sorted(contributions)
        ],
        "features": features,
        "recommended_action": recommended_action(contributions, tier),
        "label_delay_days": HORIZON_DAYS,
        "note": _NOTE,
    }


def _scores(bind: Binder, tenant: str) -> str:
    """A subquery of users with what was said of each last, in the newest daily round or since: who was active is looked
    at again before the next round.
    """
    of_model = f"tenant = {bind(tenant)} AND model = {bind(MODEL)}"
    columns = {
        "probability": "probability", "tier": "toString(tier)", "contributions": "contributions",
        "as_of": "as_of", "model_version": "toString(model_version)",
    }  # fmt: skip
    named = ", ".join(f"said.{n} AS {name}" for n, name in enumerate(columns, 1))
    newest = f"argMax(tuple({', '.join(columns.values())}), (as_of, version)) AS said"
    since = f"as_of >= (SELECT max(as_of) FROM rounds WHERE {of_model})"
    every = f"SELECT subject_id, {newest} FROM predictions WHERE {of_model} AND {since} GROUP BY subject_id"
    return f"(SELECT subject_id, {named} FROM ({every}))"


def _paid(bind: Binder, tenant: str, pack: Pack, users: str) -> str:
    """A subquery of those users (a SELECT) who ordered, with what all their orders come to, in millionths: `paid`."""
    refs = pack.roles.get("purchase", ())
    columns = ("user_id", "amount_micros")
    only = orders_of(bind, tenant, refs, users)
    rows = order_rows(bind, tenant, refs, columns, before_ms=None, by_campaign=False, only=only)
    paid = "sum(toInt128(amount_micros)) AS paid"
    return f"(SELECT user_id, {paid} FROM {rows} WHERE user_id IN ({users}) GROUP BY user_id)"


async def _users(
    reader: Reader, tenant: str, pack: Pack, tier: str | None, least: float | None, limit: int, offset: int
) -> list[dict[str, Any]]:
    bind = Binder()
    lowest = least if least is not None else (0.0 if tier else _AT_RISK)
    where = f"probability >= {bind(lowest, 'Float64')}"
    if tier is not None:
        where += f" AND tier = {bind(tier)}"
    page = (
        f"FROM {_scores(bind, tenant)} WHERE {where} "
        f"ORDER BY probability DESC, subject_id LIMIT {bind(limit, 'UInt32')} OFFSET {bind(offset, 'UInt32')}"
    )
    sql = (
        "SELECT p.subject_id, p.probability, p.tier, p.contributions, toUnixTimestamp64Milli(p.as_of), "
        "toUnixTimestamp64Milli(s.last_active), "
        "toUnixTimestamp64Milli(s.last_seen), toUnixTimestamp64Milli(coalesce(s.signed_up_at, s.first_seen)), "
        f"o.paid, s.user_id != '' FROM (SELECT * {page}) AS p "
        f"LEFT JOIN (SELECT * FROM user_state FINAL WHERE tenant = {bind(tenant)} AND events > 0) AS s "
        "ON s.user_id = p.subject_id "
        f"LEFT JOIN {_paid(bind, tenant, pack, f'SELECT subject_id {page}')} AS o ON o.user_id = p.subject_id "
        "ORDER BY p.probability DESC, p.subject_id"
    )
    return [_user(row) for row in await reader.rows(sql, bind.params)]


async def _summary(reader: Reader, tenant: str, pack: Pack) -> tuple[int | None, str | None, dict[str, int], float]:
    """When somebody was looked at last, by which model, users at risk by tier, and what these paid."""
    bind = Binder()
    scores, least = _scores(bind, tenant), bind(_AT_RISK, "Float64")
    at_risk = f"SELECT subject_id FROM {scores} WHERE probability >= {least}"
    sql = (
        f"SELECT p.tier, countIf(p.probability >= {least}), sum(o.paid), toUnixTimestamp64Milli(max(p.as_of)), "
        f"argMax(p.model_version, p.as_of) FROM {scores} AS p "
        f"LEFT JOIN {_paid(bind, tenant, pack, at_risk)} AS o ON o.user_id = p.subject_id GROUP BY p.tier"
    )
    rows = await reader.rows(sql, bind.params)
    if not rows:
        return None, None, {}, 0.0
    counts = {tier: int(n) for tier, n, *_ in rows}
    as_of, version = max((int(row[3]), str(row[4])) for row in rows)
    return as_of, version, counts, sum(int(row[2]) for row in rows) / MICROS


def _user(row: Row) -> dict[str, Any]:
    user_id, probability, tier, contributions, as_of, last_active, last_seen, since, micros, known = row
    return {
        "userId": user_id,
        "userName": None,
        "email": None,
        "churnProbability": probability,
        "riskTier": tier,
        "topRiskFactors": top_factors(contributions),
        "recommendedAction": recommended_action(contributions, tier),
        "scoredAt": iso(as_of),
        "lastActivity": iso(last_active),
        "monthsActive": round(max(0, last_seen - since) / _MONTH_MS, 1) if known else None,
        "currentLtv": int(micros) / MICROS if known else None,
    }


def top_factors(contributions: Mapping[str, float]) -> list[dict[str, Any]]:
    """What raises the risk most; `importance` is the share of all that raises it, 0 to 1."""
    rising = [(name, value) for name, value in _sorted(contributions) if value > 0]
    total = sum(value for _, value in rising)
    return [{"factor": name, "importance": round(value / total, 4)} for name, value in rising[:_TOP]]


def _sorted(contributions: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(contributions.items(), key=lambda item: (-abs(item[1]), item[0]))
