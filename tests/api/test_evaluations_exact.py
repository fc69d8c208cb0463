"""What is said of the churn model, against the predictions that were stored and what became of the users."""

from __future__ import annotations

import uuid
from random import Random
from typing import Any, NamedTuple

import pytest

from api.times import iso
from online_models.churn import ChurnModel
from schemas.taxonomy import Pack
from sinks.warehouse import Warehouse
from stream_processors.insights.churn_runner import ChurnRunner
from stream_processors.insights.feature_source import WarehouseFeatures
from stream_processors.watch.churn_watch import store_day
from tests.api.ask import get
from tests.api.conftest import Site
from tests.api.shop import one, order
from tests.api.world import DAY, NOW, Event, lines
from tests.oracle.evaluations import MONTH_MS, Pair, People, area, measures

TENANT = "judged"
DAYS = 52
MIDNIGHT = int(NOW // DAY) * DAY
DAY_MS = DAY * 1000


def town(rng: Random) -> list[Event]:
    """Users who come daily with an appetite of their own until they stay away, some for a while, some for good.

    And twins, of whom the same must be said until one of them leaves.
    """
    events: list[Event] = []

    def add(kind: str, at: float, user: str, **properties: Any) -> None:
        event_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        events.append(one(kind, round(at, 3), user, event_id, **properties))

    for n in range(70):
        user, appetite, leaves = f"user-{n:02}", rng.uniform(0.05, 0.9), rng.uniform(2, 2 * DAYS)
        for day in range(DAYS):
            at = MIDNIGHT - (DAYS - day) * DAY + rng.random() * DAY
            if day < leaves and rng.random() < appetite:
                add("user_engaged", at, user, engagement_type="app_open")
                if rng.random() < 0.2:
                    add("user_purchased", at, user, order_id=order(len(events)), order_value=9.5)
                if rng.random() < 0.02:
                    add("user_unsubscribed", at, user, unsubscribe_type=rng.choice(("all_campaigns", "push_only")))
    for n in range(6):
        for day in range(n, DAYS, n + 2):
            for twin in ("stays", "leaves"):
                at = MIDNIGHT - (DAYS - day) * DAY + 3_600
                add("user_engaged", at, f"{twin}-{n}", engagement_type="app_open")
        add("user_unsubscribed", MIDNIGHT - 18 * DAY, f"leaves-{n}", unsubscribe_type="all_campaigns")
    return events


class Judged(NamedTuple):
    """Who was lost by what happened, and what was said of whom: (midnight in ms, user, probability, label)."""

    people: People
    said: list[tuple[int, str, float, int | None]]

    def pairs(self, at: int) -> list[Pair]:
        """Of all predictions whose month was over by a moment; what came true is counted, not read."""
        over = [(then, user, probability) for then, user, probability, _ in self.said if then + MONTH_MS <= at]
        lost = {then: self.people.lost(then) for then in {then for then, _, _ in over}}
        return [(probability, lost[then][user]) for then, user, probability in over]


@pytest.fixture(scope="module")
def judged(store: Warehouse, pack: Pack) -> Judged:
    """The daily rounds of a tenant's model, as the watcher runs and stores them."""
    events = town(Random(41))
    store.insert_lines("events", lines(events + events[:300], pack, TENANT, backfill=True))
    runner = ChurnRunner(TENANT, WarehouseFeatures(store.query, pack.roles))
    for result in runner.tick(NOW, NOW + 1):
        store_day(store, pack.roles, TENANT, result)
    rows = store.query(
        "SELECT toUnixTimestamp64Milli(as_of) AS at, subject_id, probability, label FROM predictions FINAL "
        f"WHERE tenant = '{TENANT}' AND model = '{ChurnModel.name}' ORDER BY at, subject_id"
    )
    return Judged(People(events), [(int(r["at"]), r["subject_id"], r["probability"], r["label"]) for r in rows])


def test_everybody_who_was_active_is_predicted_and_labelled_by_what_happened(judged: Judged) -> None:
    """For each midnight since the first activity; labels a month later, by day and by user."""
    first = min(min(times) for times in judged.people.active.values()) // DAY_MS + 1
    wanted = []
    for at in range(first * DAY_MS, MIDNIGHT * 1000 + 1, DAY_MS):
        known = at + MONTH_MS <= NOW * 1000
        wanted += [(at, user, int(lost) if known else None) for user, lost in sorted(judged.people.lost(at).items())]
    assert [(at, user, label) for at, user, _, label in judged.said] == wanted
    labels = [label for _, _, label in wanted]
    assert min(labels.count(label) for label in (0, 1, None)) > 100, "a test over nothing proves nothing"


async def test_every_measure_is_that_of_the_predictions_that_were_stored(site: Site, judged: Judged) -> None:
    """On every day that brought labels, over all labels until then: by counting, not by ranks."""
    answer = await get(site, TENANT, "/evaluations")
    (model,) = answer["models"]
    shown: dict[str, dict[str, tuple[float, int]]] = {}
    for entry in model["history"]:
        shown.setdefault(entry["as_of"], {})[entry["metric"]] = (entry["value"], entry["n"])
    days = _days(judged)
    assert list(shown) == [iso(at) for at in days] and len(days) > 20
    for at, found in zip(days, shown.values(), strict=True):
        expected = measures(judged.pairs(at))
        assert found.keys() == expected.keys(), at
        for name, (value, n) in expected.items():
            assert found[name][0] == pytest.approx(value, rel=1e-9, abs=1e-12), (at, name)
            assert found[name][1] == n, (at, name)
    newest = {name: (entry["value"], entry["n"]) for name, entry in model["metrics"].items()}
    assert newest == {name: both for found in shown.values() for name, both in found.items()}
    assert 0.5 < newest["auc"][0] < 1
    by_label = [{said for said, true in judged.pairs(days[-1]) if true is lost} for lost in (True, False)]
    assert len(by_label[0] & by_label[1]) > 50, "there are ties to be counted as half"
    learnt = days[-1] // DAY_MS - 30
    assert (model["model"], model["as_of"]) == (ChurnModel.name, iso(days[-1]))
    assert model["model_version"] == f"{ChurnModel().version}+{learnt}"


async def test_the_accuracy_of_each_day_is_the_share_of_pairs_in_order(site: Site, judged: Judged) -> None:
    answer = await get(site, TENANT, "/metrics/model_accuracy", start=iso(MIDNIGHT * 1000 - 9 * DAY_MS), end="now",
                       interval="day", compare="previous_period")  # fmt: skip
    days = [MIDNIGHT * 1000 - n * DAY_MS for n in range(9, -1, -1)]
    assert [point["start"] for point in answer["series"]] == [iso(at) for at in days]
    for point, at in zip(answer["series"], days, strict=True):
        check_accuracy(point, judged, at)
    check_accuracy(answer, judged, days[-1])
    then, now = answer["comparison"], area(judged.pairs(days[-1]))
    last = max(at for at in _days(judged) if str(iso(at)) < then["end"])
    check_accuracy({**then, "model": ChurnModel.name}, judged, last)
    before = area(judged.pairs(last))
    assert now is not None and before is not None and now != before
    assert then["change"] == pytest.approx(float(now - before), rel=1e-9, abs=1e-12)
    assert then["change_percent"] == pytest.approx(float(100 * (now - before) / before), rel=1e-9, abs=1e-12)


def check_accuracy(shown: dict[str, Any], judged: Judged, at: int) -> None:
    pairs = judged.pairs(at)
    expected = area(pairs)
    assert expected is not None, "a test over nothing proves nothing"
    assert shown["value"] == pytest.approx(float(expected), rel=1e-12)
    assert (shown["numerator"], shown["denominator"], shown["model"]) == (len(pairs), None, ChurnModel.name)


def _days(judged: Judged) -> list[int]:
    """The midnights that a month of some prediction ended at, in ms."""
    return sorted({then + MONTH_MS for then, *_ in judged.said if then + MONTH_MS <= NOW * 1000})
