"""Reading experiments: who was treated, who was held out, and what both bought, by group and point of the series.

A user belongs to the side that the first delivery of the campaign in the range says, and counts orders from that moment
to the end of the range, whatever brought them: a randomised comparison needs no attribution.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from api.lift import ESTIMATES, Arm, Experiment
from api.measures import MEASURES, read_cells
from api.reader import Reader
from api.selections import Question, of_role
from api.slices import Binder, Filter, Slice, bucket_sql, following_sql
from api.sources import order_rows
from schemas.metrics import Dimension, Metric
from schemas.taxonomy.pack import Pack

ROLES = ("impression", "purchase", "spend")
"""What a pack must declare for an experiment to be known."""

Found = dict[str | None, dict[str, Experiment]]
"""By group (None: all), by campaign."""


@dataclass(frozen=True)
class Experiments:
    """What the metric endpoint asks of a metric's cells, answered from experiments; points as in `api.metrics`."""

    metric: Metric
    points: Mapping[int | None, Found]

    def groups(self) -> set[str]:
        """The groups that somebody was assigned in."""
        return {group for group in self.points[None] if group is not None}

    def at(self, group: str | None, point: int | None) -> dict[str, Any]:
        """`value`, `numerator`, `denominator`, the ends of the 95 % interval, `p_value`, and how many users."""
        experiments = [one for one in self.points.get(point, {}).get(group, {}).values() if one.valid]
        estimate = ESTIMATES[self.metric.id](experiments)
        low, high = estimate.interval()
        return {
            "value": None if estimate.value is None else float(estimate.value),
            "numerator": float(estimate.numerator),
            "denominator": None if estimate.denominator is None else float(estimate.denominator),
            "low": low,
            "high": high,
            "p_value": estimate.p_value,
            "treated_users": sum(one.treated.users for one in experiments),
            "control_users": sum(one.control.users for one in experiments),
        }


async def read_experiments(reader: Reader, metric: Metric, asked: Slice, pack: Pack) -> Experiments:
    """The experiments of a range, and of each point of it as a range of its own. Raises what the reader raises."""
    questions = [replace(asked, interval=None), *([asked] if asked.interval else [])]
    points: dict[int | None, Found] = {None: {}}
    for found in await asyncio.gather(*(_read(reader, one, pack) for one in questions)):
        points.update(found)
    return Experiments(metric, points)


async def _read(reader: Reader, asked: Slice, pack: Pack) -> dict[int | None, Found]:
    by_campaign = replace(asked, group_by=Dimension.CAMPAIGN, filters=_campaign_only(asked))
    (spend,), rows = await asyncio.gather(
        read_cells(reader, [MEASURES["spend"]], by_campaign, pack, max_buckets=1), reader.rows(*statement(asked, pack))
    )
    arms: dict[tuple[int | None, str | None, str], dict[bool, Arm]] = {}
    for group, start, campaign, held_out, *numbers in rows:
        key = int(start) if asked.interval else None, group if asked.group_by else None, campaign
        arms.setdefault(key, {})[bool(held_out)] = Arm(*map(int, numbers))
    found: dict[int | None, Found] = {}
    for (point, group, campaign), sides in arms.items():
        treated, control = sides.get(False, Arm()), sides.get(True, Arm())
        one = Experiment(treated, control, spend.at(campaign, point))
        found.setdefault(point, {}).setdefault(group, {})[campaign] = one
    return found


def _campaign_only(asked: Slice) -> dict[Dimension, Filter]:
    return {name: value for name, value in asked.filters.items() if name is Dimension.CAMPAIGN}


def statement(asked: Slice, pack: Pack) -> tuple[str, dict[str, object]]:
    """The SELECT of all arms, with its bound values: (group, point, campaign, held out) and the numbers of an `Arm`."""
    bind = Binder()
    rows = of_role("impression")(bind, Question(asked, pack, frozenset(), exact_rows=False))
    columns = ("user_id", "amount_micros")
    orders = order_rows(bind, asked.tenant, pack.roles["purchase"], columns, before_ms=asked.end_ms, by_campaign=False)
    group = f"toString({asked.group_by.value})" if asked.group_by else "''"
    point = bucket_sql(asked.interval) if asked.interval else "toInt64(0)"
    assigned = (
        f"SELECT {group} AS g, {point} AS b, toString(campaign_id) AS campaign, user_id, min(timestamp) AS since, "
        f"argMin(is_holdout, (timestamp, event_id)) AS held FROM {rows.source} "
        f"WHERE {' AND '.join(rows.conditions)} GROUP BY g, b, campaign, user_id"
    )
    counts = "o.user_id != '' AND o.timestamp >= a.since"
    if asked.interval:
        counts += f" AND toUnixTimestamp64Milli(o.timestamp) < {following_sql(asked.interval, 'a.b')}"
    people = (
        f"SELECT a.g AS g, a.b AS b, a.campaign AS campaign, any(a.held) AS held, countIf({counts}) > 0 AS bought, "
        f"sumIf(toInt128(o.amount_micros), {counts}) AS paid FROM ({assigned}) AS a "
        f"LEFT JOIN {orders} AS o ON a.user_id = o.user_id GROUP BY g, b, campaign, a.user_id"
    )
    numbers = "count(), countIf(bought), sum(paid), sum(paid * paid)"
    return f"SELECT g, b, campaign, held, {numbers} FROM ({people}) GROUP BY g, b, campaign, held", bind.params
