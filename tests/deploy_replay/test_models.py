"""The daily rounds of the churn model give the same again, though late events have come since each of them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.replay.hashes import DAILY
from deploy.settings import Settings
from online_models.snapshots import SnapshotStore
from schemas.clock import ManualClock
from schemas.wire import slot_of
from sinks.warehouse import Warehouse
from stream_processors.insights.churn_runner import DAY, ChurnRunner
from stream_processors.metrics import WorkerMetrics
from stream_processors.settings import WatcherSettings
from stream_processors.watch.churn_watch import ChurnWatch
from tests.deploy_replay.support import ROLES, run_replay

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("replay")]

START = (int(time.time()) // DAY - 40) * DAY
DAYS = 33


class Silent:
    """Publishes nowhere."""

    def publish(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        return


def _events() -> Iterator[dict[str, Any]]:
    """Users who come most days until they leave; a fifth of what they do is known hours or days later."""
    rng = random.Random(3)
    for tenant in ("one",):
        for number in range(20):
            user, leaves = f"user-{number}", rng.uniform(3, DAYS * 1.5)
            for day in range(DAYS):
                if day > leaves or rng.random() < 0.4:
                    continue
                at = START + (day + rng.random()) * DAY
                delay = rng.uniform(3_600, 4 * DAY) if rng.random() < 0.2 else rng.random() * 3
                kind = rng.choice(("user_engaged", "user_purchased", "campaign_clicked"))
                yield {
                    **{"tenant": tenant, "event_id": f"{user}-{day}", "event_type": kind, "user_id": user},
                    **{"timestamp": round(at, 3), "received_at": round(at + delay, 3), "pack": "marketing"},
                    **{"inserted_at": round(at + delay + 1, 3), "subtype": "app_open", "slot": slot_of(tenant, user)},
                    "amount_micros": rng.randrange(10**9) if kind == "user_purchased" else 0,
                }


class Live:
    """A watcher that looks every few hours, over events that come when they are received."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.warehouse, self.clock, self._folder = Warehouse(settings.warehouse), ManualClock(START + 3_601.0), folder
        self._events = sorted(_events(), key=lambda one: one["inserted_at"])
        self.watch = self.start()

    def start(self) -> ChurnWatch:
        def new_runner(tenant: str, source: Any) -> ChurnRunner:
            return ChurnRunner(tenant, source, SnapshotStore(self._folder / tenant))

        return ChurnWatch(
            WatcherSettings(), ROLES, self.warehouse, Silent(), new_runner, self.clock, WorkerMetrics("watch")
        )

    def run_until(self, end: float, step: float) -> None:
        while self.clock.now() < end:
            self.clock.advance(step)
            due = [one for one in self._events if one["inserted_at"] < self.clock.now()]
            self._events = self._events[len(due) :]
            self.warehouse.insert_lines("events", b"".join(orjson.dumps(one) + b"\n" for one in due))
            self.watch.look()


@pytest.fixture
def live(settings: Settings, tmp_path: Path) -> Live:
    found = Live(settings, tmp_path / "snapshots")
    # Somebody is always active, and scored anew at every look: no part of the record.
    row = {"tenant": "one", "user_id": "user-1", "last_active": START + 99 * DAY, "events": 1}
    found.warehouse.insert_lines("user_state", orjson.dumps(row) + b"\n")
    return found


def test_predictions_evaluations_and_labels_are_identical(live: Live, settings: Settings) -> None:
    live.run_until(START + 3 * DAY, DAY)
    live.watch = live.start()  # from its snapshot
    live.run_until(START + DAYS * DAY, DAY)
    live.run_until(START + DAYS * DAY + 100, 100)
    summary = run_replay(settings, what=("models",))
    assert summary["same"], summary
    assert summary["tables"]["predictions"]["rows"] > 200 and summary["tables"]["evaluations"]["rows"] > 4
    counts = live.warehouse.query(
        f"SELECT countIf(NOT ({DAILY})) AS fresh, countIf(label IS NOT NULL) AS labelled FROM predictions FINAL"
    )[0]
    assert counts["fresh"] > 5 and counts["labelled"] > 5
    late = live.warehouse.query(
        "SELECT count() AS n FROM events AS e, (SELECT * FROM rounds FINAL WHERE tenant = 'one') AS r"
        " WHERE e.tenant = 'one' AND e.timestamp < r.as_of AND e.received_at >= r.known_by"
    )
    assert late[0]["n"] > 20, "rounds without what came late would be the same by chance"


def test_a_run_that_began_anew_is_the_one_that_is_replayed(live: Live, settings: Settings) -> None:
    live.run_until(START + 3 * DAY, DAY)
    for path in (settings.data_dir / "snapshots").rglob("*.snapshot"):
        path.unlink()
    live.watch = live.start()
    live.run_until(START + 5 * DAY, DAY)
    summary = run_replay(settings, what=("models",))
    assert summary["same"], summary
    assert summary["tables"]["predictions"]["rows"] > 10


def test_models_of_a_tenant_without_rounds_are_built_from_all_that_is_stored(live: Live, settings: Settings) -> None:
    live.warehouse.insert_lines("events", b"".join(orjson.dumps(one) + b"\n" for one in _events()))
    summary = run_replay(settings, what=("models",), compare=False, swap=True, name="built")
    assert summary["swapped"] == ["predictions", "evaluations"]
    assert live.warehouse.query("SELECT count() AS n FROM predictions FINAL WHERE label IS NOT NULL")[0]["n"] > 5
    assert list((settings.data_dir / "snapshots" / "churn" / "one").glob("*.snapshot"))
