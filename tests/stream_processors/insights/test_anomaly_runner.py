"""The live anomaly runner: idempotent feeding, announcing, restarting, bounds."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from online_models.snapshots import SnapshotStore
from stream_processors.insights.anomaly_runner import AnomalyRunner, Findings

NOW = 1_763_985_600.0
"""A midnight (UTC); history lies before it."""

Rows = list[tuple[str, str, str, float, float]]


def _history(days: int = 8, rate: float = 20.0, dimension: str = "", tenant: str = "t") -> Rows:
    rng = np.random.default_rng(len(dimension) + len(tenant))
    first = NOW - days * 86_400
    values = rng.poisson(rate, days * 1440)
    return [(tenant, "clicks", dimension, first + 60 * i, float(v)) for i, v in enumerate(values)]


def _live(runner: AnomalyRunner, minutes: int, value: Callable[[int], float | None], begin: int = 0) -> Findings:
    """Feed a value a minute, evaluating 5 s after each; None: nothing arrives."""
    total = Findings()
    for minute in range(begin, begin + minutes):
        if (v := value(minute)) is not None:
            runner.update("t", "clicks", "", NOW + 60 * minute, v)
        found = runner.evaluate(NOW + 60 * minute + 65)
        total.rows.extend(found.rows)
        total.events.extend(found.events)
    return total


def _runner(store: SnapshotStore | None = None, **more: Any) -> AnomalyRunner:
    runner = AnomalyRunner(store=store, **more)
    runner.restore(_history())
    runner.evaluate(NOW)
    return runner


def test_a_spike_is_announced_at_once_and_once() -> None:
    found = _live(_runner(), 10, lambda minute: 200.0 if minute == 6 else 20.0)
    first = found.rows[0]
    assert (first["type"], first["bucket"], first["metric_id"]) == ("spike", NOW + 300, "clicks")
    assert first["detected_at"] == NOW + 6 * 60 + 65
    assert len({row["anomaly_id"] for row in found.rows}) == 1 and len(found.events) == 1
    assert found.rows[-1]["actual"] >= first["actual"] and found.rows[-1]["version"] >= first["version"]


def test_the_event_carries_what_the_taxonomy_declares() -> None:
    (event,) = _live(_runner(), 10, lambda minute: 200.0 if minute == 6 else 20.0).events
    assert event["event_type"] == "anomaly_detected" and uuid.UUID(event["event_id"]).version == 5
    properties = event["properties"]
    assert set(properties) == {
        "anomaly_id", "metric_id", "anomaly_type", "anomaly_severity", "expected_value", "actual_value",
        "percentage_deviation", "affected_records", "auto_remediation_applied",
    }  # fmt: skip
    assert properties["expected_value"] == pytest.approx(100, rel=0.1) and properties["affected_records"] > 100
    assert event["timestamp"].endswith("Z") and event["user_id"] and event["source"] == "backend"


def test_an_outage_is_announced_when_its_bucket_closed_and_one_event_tells_of_the_run() -> None:
    found = _live(_runner(), 40, lambda minute: 20.0 if minute < 10 else None)
    assert {row["type"] for row in found.rows} == {"zero_value"}
    assert [row["bucket"] for row in found.rows] == [NOW + 300 * n for n in range(2, 7)]
    assert found.rows[0]["detected_at"] == pytest.approx(NOW + 15 * 60 + 65, abs=61)
    assert len(found.events) == 1


def test_a_usual_day_raises_nothing() -> None:
    rng = np.random.default_rng(9)
    assert _live(_runner(), 600, lambda minute: float(rng.poisson(20))).rows == []


def test_updates_may_repeat_and_come_in_any_order() -> None:
    rows = _history(rate=6.0) + [("t", "clicks", "", NOW + 60 * m, 60.0) for m in range(4)]
    one, other = AnomalyRunner(), AnomalyRunner()
    one.restore(rows)
    order = np.random.default_rng(3).permutation(len(rows))
    other.restore([rows[i] for i in order])
    other.restore(rows[::-7])
    assert one.evaluate(NOW + 280).rows == other.evaluate(NOW + 280).rows != []


def test_history_that_is_filled_in_raises_no_alarm() -> None:
    runner = AnomalyRunner()
    runner.evaluate(NOW)
    for number, (tenant, metric, dimension, minute, value) in enumerate(_history()):
        incident = 0.0 if 9_000 < number < 9_100 else 5.0 if 9_500 < number < 9_600 else 1.0
        runner.update(tenant, metric, dimension, minute, value * incident)
        if number % 500 == 0:
            assert runner.evaluate(NOW + number / 500).rows == []
    found = _live(runner, 20, lambda minute: 200.0 if minute == 12 else 20.0)
    assert [row["type"] for row in found.rows[:1]] == ["spike"], "afterwards that history is what is judged by"


def test_data_on_its_way_at_a_restart_is_no_outage() -> None:
    runner = AnomalyRunner()
    runner.restore([row for row in _history() if row[3] < NOW - 400])
    assert runner.evaluate(NOW).rows == [] and runner.evaluate(NOW + 31).rows == []


def test_a_restart_from_a_snapshot_continues_as_if_nothing_happened(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)

    def shape(minute: int) -> float | None:
        return None if 20 <= minute < 60 else 20.0

    whole, first = _runner(), _runner(store)
    before = _live(whole, 45, shape)
    assert _live(first, 45, shape) == before
    first.snapshot(NOW + 45 * 60)
    second = AnomalyRunner(store=SnapshotStore(tmp_path))
    assert second.skipped == []
    second.restore(_history() + [("t", "clicks", "", NOW + 60 * m, 20.0) for m in range(20)])
    again, reference = _live(second, 60, shape, begin=45), _live(whole, 60, shape, begin=45)
    settled = [row for row in reference.rows if row["bucket"] + 300 > NOW + 45 * 60 + 65 + 60]
    assert again.rows == settled != [] and again.events == reference.events == []


def test_a_damaged_snapshot_is_skipped(tmp_path: Path) -> None:
    runner = _runner(SnapshotStore(tmp_path))
    runner.snapshot(NOW)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    assert len(AnomalyRunner(store=SnapshotStore(tmp_path)).skipped) == 1


def test_series_are_bounded_and_dead_ones_make_room() -> None:
    runner = AnomalyRunner(max_series=3)
    taken = [runner.update("t", "clicks", f"campaign-{n}", NOW, 0.0) for n in range(5)]
    assert taken == [True] * 3 + [False] * 2 and (runner.series, runner.refused) == (3, 2)
    runner.evaluate(NOW + 60)
    assert runner.series == 0 and runner.update("t", "clicks", "new", NOW, 1.0)


def test_unreadable_or_far_future_values_are_ignored() -> None:
    runner = _runner()
    for minute, value in [(NOW, float("nan")), (NOW, float("inf")), (NOW + 9e8, 5.0), (NOW - 9e8, 5.0)]:
        assert not runner.update("t", "clicks", "", minute, value)
    assert _live(runner, 10, lambda minute: 20.0).rows == []


def test_tenants_and_dimensions_do_not_mix() -> None:
    runner = AnomalyRunner()
    for tenant, dimension in (("t", ""), ("t", "campaign"), ("other", "")):
        runner.restore(_history(tenant=tenant, dimension=dimension))
    runner.evaluate(NOW)
    runner.update("other", "clicks", "", NOW, 900.0)
    runner.update("t", "clicks", "campaign", NOW, 100.0)
    (row,) = runner.evaluate(NOW + 5).rows
    assert (row["tenant"], row["dimension"]) == ("other", "")


def test_gauges_are_judged_by_their_mean_and_only_when_closed() -> None:
    runner = AnomalyRunner({"ctr": "gauge"})
    runner.restore(("t", "ctr", "", NOW - 60 * m, 0.05 + 0.001 * (m % 7)) for m in range(1, 8 * 1440))
    runner.evaluate(NOW)
    for minute in range(5):
        runner.update("t", "ctr", "", NOW + 60 * minute, 0.5)
        assert runner.evaluate(NOW + 60 * minute + 59).rows == []
    (row,) = runner.evaluate(NOW + 340).rows
    assert (row["type"], row["actual"]) == ("spike", pytest.approx(0.5))


def test_rows_fit_the_table(warehouse: Any) -> None:
    found = _live(_runner(), 40, lambda minute: 20.0 if minute < 10 else None)
    warehouse.insert("anomalies", found.rows + found.rows)
    assert int(warehouse.query("SELECT count() AS n FROM anomalies FINAL")[0]["n"]) == len(found.rows)


def _import(runner: AnomalyRunner) -> list[Findings]:
    """A new series' history arrives in no order: its beginning and its end, and some seconds later the rest."""
    runner.evaluate(NOW)
    history = _history()
    runner.restore(history[:600])
    runner.update("t", "clicks", "", NOW, 20.0)
    found = [runner.evaluate(NOW + 2)]
    runner.restore(history[600:])
    return [*found, runner.evaluate(NOW + 6), runner.evaluate(NOW + 20)]


def test_history_that_is_being_filled_in_is_not_judged_before_it_is_at_rest() -> None:
    """Half of an import looks like days of nothing and then a spike."""
    hasty = AnomalyRunner(fill_seconds=0.0)
    assert [row["type"] for found in _import(hasty) for row in found.rows] == ["spike"], "what it would say at once"
    runner = AnomalyRunner()
    assert all(found.rows == [] for found in _import(runner))
    runner.update("t", "clicks", "", NOW + 60, 400.0)
    (row,) = runner.evaluate(NOW + 65).rows
    assert row["type"] == "spike" and row["expected"] > 0
