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
    """The users of the newest run, worst first, and the sums over everybody at risk in it."""
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


def _newest(bind: Binder, tenant: str) -> str:
    """The condition for the rows of the newest run; a run predicts everybody at one moment."""
    run = f"SELECT max(as_of) FROM predictions WHERE tenant = {bind(tenant)} AND model = {bind(MODEL)}"
    return f"tenant = {bind(tenant)} AND model = {bind(MODEL)} AND as_of = ({run})"


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
    where = _newest(bind, tenant)
    if tier is not None:
        where += f" AND tier = {bind(tier)}"
    lowest = least if least is not None else (0.0 if tier else _AT_RISK)
    where += f" AND probability >= {bind(lowest, 'Float64')}"
    page = (
        f"FROM predictions FINAL WHERE {where} "
        f"ORDER BY probability DESC, subject_id LIMIT {bind(limit, 'UInt32')} OFFSET {bind(offset, 'UInt32')}"
    )
    sql = (
        "SELECT p.subject_id, p.probability, p.tier, p.contributions, toUnixTimestamp64Milli(s.last_active), "
        "toUnixTimestamp64Milli(s.last_seen), toUnixTimestamp64Milli(coalesce(s.signed_up_at, s.first_seen)), "
        f"o.paid, s.user_id != '' FROM (SELECT subject_id, probability, tier, contributions {page}) AS p "
        f"LEFT JOIN (SELECT * FROM user_state FINAL WHERE tenant = {bind(tenant)} AND events > 0) AS s "
        "ON s.user_id = p.subject_id "
        f"LEFT JOIN {_paid(bind, tenant, pack, f'SELECT subject_id {page}')} AS o ON o.user_id = p.subject_id "
        "ORDER BY p.probability DESC, p.subject_id"
    )
    return [_user(row) for row in await reader.rows(sql, bind.params)]


async def _summary(reader: Reader, tenant: str, pack: Pack) -> tuple[int | None, str | None, dict[str, int], float]:
    bind = Binder()
    newest = _newest(bind, tenant)
    least = bind(_AT_RISK, "Float64")
    at_risk = f"SELECT subject_id FROM predictions FINAL WHERE {newest} AND probability >= {least}"
    sql = (
        f"SELECT p.tier, countIf(p.probability >= {least}), sum(o.paid), toUnixTimestamp64Milli(max(p.as_of)), "
        "max(p.model_version) FROM "
        f"(SELECT subject_id, tier, as_of, model_version, probability FROM predictions FINAL WHERE {newest}) AS p "
        f"LEFT JOIN {_paid(bind, tenant, pack, at_risk)} AS o ON o.user_id = p.subject_id GROUP BY p.tier"
    )
    rows = await reader.rows(sql, bind.params)
    if not rows:
        return None, None, {}, 0.0
    counts = {tier: int(n) for tier, n, *_ in rows}
    micros = sum(int(row[2]) for row in rows)
    return int(rows[0][3]), rows[0][4], counts, micros / MICROS


def _user(row: Row) -> dict[str, Any]:
    user_id, probability, tier, contributions, last_active, last_seen, since, micros, known = row
    return {
        "userId": user_id,
        "userName": None,
        "email": None,
        "churnProbability": probability,
        "riskTier": tier,
        "topRiskFactors": top_factors(contributions),
        "recommendedAction": recommended_action(contributions, tier),
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
