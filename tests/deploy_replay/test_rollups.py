"""A replay of the stored events says what the workers said, whatever order, repetition and crashes they met."""

from __future__ import annotations

import time

import pytest

from deploy.replay import stored
from deploy.replay.request import Span
from deploy.replay.shadow import databases
from deploy.settings import Settings
from schemas.clock import ManualClock
from schemas.errors import ConfigError
from sinks.warehouse import Warehouse
from tests.deploy_replay.support import make_worker, run_replay, traffic
from tests.support.workers import run, settle

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("replay")]

DAY = 86_400


def _live(settings: Settings, count: int = 1_500) -> None:
    """What a worker makes of bad traffic when it is killed in the middle and another goes on."""
    clock = ManualClock(time.time())
    some = traffic(count)
    crashed = make_worker(settings, clock)
    run(crashed, some[: len(some) // 2])
    crashed.flush()
    run(crashed, some[len(some) // 2 : len(some) // 2 + 7])
    worker = make_worker(settings, clock)
    run(worker, some[len(some) // 3 :])
    settle(worker, clock)
    settle(worker, clock)


def test_windows_and_users_out_of_stored_events_are_the_live_ones(settings: Settings) -> None:
    _live(settings)
    summary = run_replay(settings)
    assert summary["same"], summary
    assert summary["events"] == 1_500
    assert summary["tables"]["windows"]["rows"] > 500 and summary["tables"]["user_state"]["rows"] > 400
    live = Warehouse(settings.warehouse)
    assert databases(live) == [], "its tables are gone when nobody asked to keep them"


def test_a_replay_of_some_days_compares_and_keeps_these(settings: Settings) -> None:
    _live(settings)
    now = int(time.time()) // 60 * 60
    summary = run_replay(settings, span=Span(now - 9 * DAY, now - 2 * DAY), name="days", keep=True)
    assert summary["same"], summary
    assert 0 < summary["events"] < 1_200
    with pytest.raises(ConfigError, match="there already"):
        run_replay(settings, name="days")


def test_slices_are_bounded_and_bring_each_event_once(settings: Settings) -> None:
    _live(settings)
    warehouse = Warehouse(settings.warehouse)
    some = list(stored.slices(warehouse, Span(), most=100))
    assert len(some) > 5 and [one.first for one in some] == sorted(one.first for one in some)
    found = [
        (event.tenant, event.event_id)
        for one in some
        for chunk in stored.chunks(warehouse, Span(), one, settings.worker.partitions)
        for event in chunk.events
    ]
    assert len(found) == len(set(found)) == 1_500


def test_what_is_wrong_in_a_live_table_shows(settings: Settings) -> None:
    _live(settings, 400)
    live = Warehouse(settings.warehouse)
    live.command(
        "INSERT INTO windows SELECT * REPLACE (events + 1 AS events, version + 1 AS version) FROM windows FINAL LIMIT 1"
    )
    summary = run_replay(settings)
    assert not summary["same"] and not summary["tables"]["windows"]["same"] and summary["tables"]["user_state"]["same"]
