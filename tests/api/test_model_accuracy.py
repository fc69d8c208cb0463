"""The accuracy of models as a metric: the newest judgement of each, and of several the worst."""

from __future__ import annotations

from typing import Any

import pytest

from api.evaluated import Evaluations, Judged
from sinks.warehouse import Warehouse
from tests.api import rows
from tests.api.ask import get, refused
from tests.api.conftest import Site
from tests.api.world import DAY, NOW


def judged(
    tenant: str, value: float, n: int, *, days: float, model: str = "churn_model", **more: Any
) -> dict[str, Any]:
    return {**rows.evaluation(tenant, "auc", value, at=NOW - days * DAY), "model": model, "n": n, **more}


async def test_the_newest_judgement_of_the_worst_model(site: Site, tenant: str, store: Warehouse) -> None:
    nothing = await get(site, tenant, "/metrics/model_accuracy")
    assert (nothing["value"], nothing["numerator"], nothing["model"], nothing["status"]) == (None, 0, None, None)
    rows.put(
        store,
        "evaluations",
        judged(tenant, 0.91, 100, days=9),
        judged(tenant, 0.7, 50, days=2),
        judged(tenant, 0.85, 400, days=1, version=1),
        judged(tenant, 0.86, 500, days=1, version=2),  # the same day judged again: this holds
        judged(tenant, 0.9, 10, days=3, model="other"),
        judged(tenant, 0.1, 10, days=60),
        rows.evaluation(tenant, "log_loss", 0.05),
    )
    answer = await get(site, tenant, "/metrics/model_accuracy", interval="day", start="-10d")
    assert (answer["value"], answer["numerator"], answer["denominator"]) == (0.86, 500, None)
    assert (answer["model"], answer["status"]) == ("churn_model", "healthy")
    assert [one["value"] for one in answer["series"] if one["value"] is not None] == [0.91, 0.9, 0.7, 0.86]
    assert [one["model"] for one in answer["series"] if one["model"] == "other"] == ["other"]
    rows.put(store, "evaluations", judged(tenant, 0.5, 7, days=0.5, model="other"))
    worst = await get(site, tenant, "/metrics/model_accuracy")
    assert (worst["value"], worst["model"], worst["status"]) == (0.5, "other", "low")
    before = await get(site, tenant, "/metrics/model_accuracy", end="-1h", start="-15h", compare="previous_period")
    assert (before["comparison"]["value"], before["comparison"]["change"]) == (0.86, 0.5 - 0.86)


@pytest.mark.parametrize("order", [1, -1])
def test_the_newest_point_of_a_model_holds_in_whatever_order_points_come(order: int) -> None:
    cells = [(("m", 0), Judged(5, 0.9, 10)), (("m", 100), Judged(105, 0.7, 20)), (("other", 0), Judged(9, 0.8, 30))]
    found = Evaluations(dict(cells[::order])).at(None, None)
    assert (found["value"], found["numerator"], found["model"]) == (0.7, 20, "m")


async def test_it_is_split_by_nothing(site: Site, tenant: str) -> None:
    error = await refused(site, tenant, "/metrics/model_accuracy", {"group_by": "segment"})
    assert error["field"] == "group_by" and error["allowed"] == []
