"""The daily churn tick: order, label delay, resuming, replay."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from online_models.churn import HORIZON_DAYS
from online_models.snapshots import SnapshotStore
from stream_processors.insights.churn_runner import DAY, ChurnRunner, DayResult

START = 20_000 * DAY
Users = list[tuple[str, dict[str, float]]]


class Town:
    """A `FeatureSource`: each user comes daily with a fixed appetite until the day it leaves for good."""

    def __init__(self, users: int = 60, days: int = 75, seed: int = 1) -> None:
        rng = random.Random(seed)
        self.visits: dict[str, list[float]] = {}
        for n in range(users):
            appetite, leaves = rng.uniform(0.1, 0.9), rng.uniform(5, days * 1.6)
            self.visits[f"user-{n:03}"] = [
                START + (day + rng.random()) * DAY for day in range(days) if day < leaves and rng.random() < appetite
            ]
        self.asked: list[tuple[str, float]] = []
        self.now = START + days * DAY

    def first_event(self, tenant: str, known_by: float = math.inf) -> float | None:
        return min((at for visits in self.visits.values() for at in visits), default=None)

    def features(self, tenant: str, as_of: float, known_by: float = math.inf) -> Users:
        self.asked.append(("features", as_of))
        return list(reversed(self.features_of(tenant, as_of, list(self.visits))))

    def features_of(self, tenant: str, as_of: float, users: Sequence[str]) -> Users:
        found = []
        for user in users:
            past = [at for at in self.visits.get(user, []) if as_of - 30 * DAY <= at < as_of]
            if past:
                sessions = {n: float(sum(at >= as_of - n * DAY for at in past)) for n in (7, 30)}
                recency = (as_of - max(past)) / DAY
                features = {"recency_days": recency, "sessions_7d": sessions[7], "sessions_30d": sessions[30]}
                found.append((user, features))
        return found

    def labels(self, tenant: str, as_of: float, horizon_days: int, known_by: float = math.inf) -> Mapping[str, bool]:
        assert as_of + horizon_days * DAY <= self.now, "a label was asked for before it could be known"
        self.asked.append(("labels", as_of))
        return {
            user: not any(as_of <= at < as_of + horizon_days * DAY for at in visits)
            for user, visits in self.visits.items()
        }


def _run(runner: ChurnRunner, town: Town, days: int) -> list[DayResult]:
    town.now = START + days * DAY
    return list(runner.tick(town.now + 100.0))


def test_each_closed_day_is_predicted_once_in_order() -> None:
    town = Town()
    runner = ChurnRunner("t", town)
    results = _run(runner, town, 5)
    assert [r.as_of for r in results] == [START + day * DAY for day in range(1, 6)]
    assert _run(runner, town, 5) == [] and runner.last_day == START + 5 * DAY
    assert [r.as_of for r in _run(runner, town, 6)] == [START + 6 * DAY]
    rows = results[0].predictions
    assert [row["subject_id"] for row in rows] == sorted(row["subject_id"] for row in rows)
    assert all(0 <= row["probability"] <= 1 and row["label"] is None for row in rows)


def test_labels_are_learnt_only_when_their_horizon_has_closed() -> None:
    town = Town()
    runner = ChurnRunner("t", town)
    results = _run(runner, town, 40)
    learnt = [(r.as_of - START) // DAY for r in results if r.learnt]
    assert learnt == list(range(1 + HORIZON_DAYS, 41))
    assert [r.labelled_as_of for r in results if r.learnt] == [
        r.as_of - HORIZON_DAYS * DAY for r in results if r.learnt
    ]
    assert {row["model_version"] for r in results[: HORIZON_DAYS + 1] for row in r.predictions} == {"1.0.0+prior"}
    assert results[-1].predictions[0]["model_version"] == f"1.0.0+{START // DAY + 9}"
    assert not any(r.evaluations for r in results[:HORIZON_DAYS])
    measured = {row["metric"]: row for row in results[-1].evaluations}
    assert {"auc", "log_loss", "brier", "calibration_error"} <= set(measured)
    assert measured["brier"]["n"] == sum(r.learnt for r in results)


def test_what_is_evaluated_is_the_probability_given_at_the_time() -> None:
    town = Town()
    results = _run(ChurnRunner("t", town), town, 1 + HORIZON_DAYS)
    said = {row["subject_id"]: row["probability"] for row in results[0].predictions}
    labels = town.labels("t", results[0].as_of, HORIZON_DAYS)
    brier = sum((p - labels[user]) ** 2 for user, p in said.items()) / len(said)
    measured = {row["metric"]: row["value"] for row in results[-1].evaluations}
    assert measured["brier"] == pytest.approx(brier)


def test_a_replay_gives_identical_results() -> None:
    town = Town()
    runner = ChurnRunner("t", town)
    first = _run(runner, town, 45)
    assert _run(ChurnRunner("t", town), town, 45) == first
    runner.restart()
    assert _run(runner, town, 45) == first


@pytest.mark.parametrize("stops", [(7,), (31, 32, 33), (10, 40)])
def test_restarting_from_snapshots_changes_nothing(tmp_path: Path, stops: tuple[int, ...]) -> None:
    town = Town()
    whole = _run(ChurnRunner("t", town), town, 45)
    pieces: list[DayResult] = []
    for day in (*stops, 45):
        pieces += _run(ChurnRunner("t", town, SnapshotStore(tmp_path)), town, day)
    assert [(r.as_of, r.predictions, r.evaluations) for r in pieces] == [
        (r.as_of, r.predictions, r.evaluations) for r in whole
    ]


def test_a_day_counts_as_done_only_after_the_caller_stored_it(tmp_path: Path) -> None:
    town = Town()
    whole = _run(ChurnRunner("t", town), town, 40)
    runner = ChurnRunner("t", town, SnapshotStore(tmp_path))
    given = []
    for result in runner.tick(town.now):
        given.append(result)
        if len(given) == 35:
            break
    assert runner.last_day == START + 34 * DAY
    assert next(iter(runner.tick(town.now))).predictions == whole[34].predictions
    restarted = ChurnRunner("t", town, SnapshotStore(tmp_path))
    assert restarted.last_day == START + 34 * DAY
    assert [r.predictions for r in restarted.tick(town.now)] == [r.predictions for r in whole[34:]]


def test_an_error_of_the_source_leaves_the_day_undone() -> None:
    class Flaky(Town):
        broken = False

        def labels(
            self, tenant: str, as_of: float, horizon_days: int, known_by: float = math.inf
        ) -> Mapping[str, bool]:
            if self.broken:
                raise ConnectionError("warehouse away")
            return super().labels(tenant, as_of, horizon_days)

    town, calm = Flaky(), Town()
    runner = ChurnRunner("t", town)
    _run(runner, town, 35)
    town.broken = True
    with pytest.raises(ConnectionError):
        _run(runner, town, 36)
    assert runner.last_day == START + 35 * DAY
    town.broken = False
    again = _run(runner, town, 36)
    assert again[0].evaluations == _run(ChurnRunner("t", calm), calm, 36)[-1].evaluations


def test_a_damaged_snapshot_means_replay_not_a_crash(tmp_path: Path) -> None:
    town = Town()
    whole = _run(ChurnRunner("t", town, SnapshotStore(tmp_path)), town, 33)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    runner = ChurnRunner("t", town, SnapshotStore(tmp_path))
    assert runner.last_day is None and len(runner.skipped) == 3
    assert _run(runner, town, 33) == whole


def test_only_a_fixed_sample_is_learnt_from() -> None:
    town = Town()
    results = _run(ChurnRunner("t", town, sample=10), town, 35)
    assert {r.learnt for r in results if r.learnt} == {10}
    assert max(len(r.predictions) for r in results) > 30


def test_events_are_published_for_the_day_just_closed_only() -> None:
    town = Town()
    results = _run(ChurnRunner("t", town), town, 12)
    assert [bool(r.events) for r in results] == [False] * 11 + [True]
    event = results[-1].events[0]
    assert uuid.UUID(event["event_id"]).version == 5
    assert set(event["properties"]) == {
        "model_name", "inference_timestamp", "input_record_id", "prediction", "confidence_score",
        "inference_duration_ms", "feature_importance_top_3",
    }  # fmt: skip
    risks = [e["properties"]["prediction"] for e in results[-1].events]
    assert risks == sorted(risks, reverse=True) and len(event["properties"]["feature_importance_top_3"]) == 3


def test_rescoring_predicts_with_the_current_model_and_keeps_nothing() -> None:
    town = Town()
    runner = ChurnRunner("t", town)
    _run(runner, town, 40)
    now = START + 40 * DAY + 3_600.0
    rows, events = runner.rescore(["user-003", "user-001", "user-001", "nobody"], now)
    assert [row["subject_id"] for row in rows] == ["user-001", "user-003"] and len(events) == 2
    assert rows[0]["as_of"] == now and rows[0]["model_version"] == runner.model_version
    assert runner.rescore(["user-001"], now) == (rows[:1], events[:1])
    other = Town()
    undisturbed = ChurnRunner("t", other)
    _run(undisturbed, other, 40)
    assert _run(runner, town, 41) == _run(undisturbed, other, 41)


def test_a_tenant_without_events_has_no_days() -> None:
    runner = ChurnRunner("t", Town(users=0))
    assert list(runner.tick(START + 90 * DAY)) == [] and runner.last_day is None


def test_rows_fit_the_tables(warehouse: Any) -> None:
    town = Town()
    last = _run(ChurnRunner("t", town), town, 35)[-1]
    warehouse.insert("predictions", last.predictions + last.predictions)
    warehouse.insert("evaluations", last.evaluations)
    (row,) = warehouse.query("SELECT count() AS n, sum(length(contributions)) AS c FROM predictions FINAL")
    assert int(row["n"]) == len(last.predictions) and int(row["c"]) == 3 * len(last.predictions)
    assert int(warehouse.query("SELECT count() AS n FROM evaluations FINAL")[0]["n"]) == len(last.evaluations)
