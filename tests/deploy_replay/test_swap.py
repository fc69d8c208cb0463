"""Rebuilt tables take the place of the live ones while workers write: nothing is lost, and a crash leaves no mix."""

from __future__ import annotations

import time
from typing import Any

import pytest

from deploy.replay import swap as swapping
from deploy.replay.hashes import digest
from deploy.replay.request import Span
from deploy.replay.shadow import databases
from deploy.replay.swap import Swap
from deploy.settings import Settings
from schemas.clock import ManualClock
from schemas.errors import Permanent
from sinks.warehouse import Warehouse
from stream_processors.worker import Worker
from tests.deploy_replay.support import ROLES, make_worker, run_replay, traffic
from tests.support.workers import run, settle

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("replay")]

DAY = 86_400
ROLLUPS = ("windows", "user_state")
OTHER = {**ROLES, "marketing": {**ROLES["marketing"], "purchase": ROLES["marketing"]["click"]}}
"""Changed code: a click is a purchase now, and a purchase is none."""


def _hashes(settings: Settings) -> dict[str, Any]:
    live = Warehouse(settings.warehouse)
    return {table: digest(live, live.database, table, Span()) for table in ROLLUPS}


def _purchases(settings: Settings) -> tuple[int, int]:
    """As the user states have them, and as the events say under the changed code."""
    live = Warehouse(settings.warehouse)
    states = live.query("SELECT sum(purchases) AS n FROM user_state FINAL")[0]["n"]
    return int(states), int(
        live.query("SELECT countIf(event_type = 'campaign_clicked') AS n FROM events FINAL")[0]["n"]
    )


def _quiet(worker: Worker, clock: ManualClock) -> None:
    for _ in range(3):
        settle(worker, clock)


def test_changed_code_is_swapped_in_while_a_worker_writes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock(time.time())
    some = traffic(1_200)
    assert len(some) > 50
    worker = make_worker(settings, clock, OTHER)
    old = make_worker(settings, clock)
    run(old, some[: len(some) // 2])
    _quiet(old, clock)
    parts = iter((some[len(some) // 2 : -20], some[-20:-10]))

    def write_more(swap: Swap) -> None:
        """Events come in after the replay looked, and again between its copy and the exchange."""
        for step in (lambda: None, lambda: prepare(swap)):
            step()
            run(worker, next(parts))
            clock.advance(30)
            worker.flush(everything=True)

    prepare = Swap.prepare
    monkeypatch.setattr(Swap, "prepare", write_more)
    summary = run_replay(settings, OTHER, swap=True, name="new")
    assert summary["swapped"] == list(ROLLUPS) and summary["kept"]
    run(worker, some[-10:])
    clock.advance(10)
    worker.flush()
    _quiet(worker, clock)
    found, wanted = _purchases(settings)
    assert found == wanted > 100
    again = run_replay(settings, OTHER, name="again")
    assert again["same"], again
    assert databases(Warehouse(settings.warehouse)) == [f"{Warehouse(settings.warehouse).database}__new"]


def test_a_swap_of_some_days_leaves_the_others(settings: Settings) -> None:
    clock = ManualClock(time.time())
    worker = make_worker(settings, clock)
    run(worker, traffic(600))
    _quiet(worker, clock)
    before = _hashes(settings)
    live = Warehouse(settings.warehouse)
    now = int(time.time()) // 60 * 60
    span = Span(now - 9 * DAY, now - 2 * DAY)
    live.command(
        "INSERT INTO windows SELECT * REPLACE (events + 5 AS events, version + 1 AS version) FROM windows FINAL"
        f" WHERE {span.condition('minute')}"
    )
    assert _hashes(settings)["windows"] != before["windows"]
    summary = run_replay(settings, span=span, what=("windows", "user_state"), swap=True, name="part")
    assert not summary["same"]
    assert _hashes(settings) == before, "healed within the days, as it was elsewhere"


class _Crashed(Exception):
    """The process ends here."""


@pytest.mark.parametrize("exchanged", [0, 1, 3])
def test_a_crash_between_the_steps_is_finished_or_forgotten(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, exchanged: int
) -> None:
    clock = ManualClock(time.time())
    worker = make_worker(settings, clock)
    run(worker, traffic(300))
    _quiet(worker, clock)
    before = _purchases(settings)

    def crash(live: Warehouse, database: str, tables: list[str]) -> None:
        exchange(live, database, tables[:exchanged])
        raise _Crashed

    exchange = swapping._exchange
    monkeypatch.setattr(swapping, "_exchange", crash)
    with pytest.raises(_Crashed):
        run_replay(settings, OTHER, swap=True, name="cut")
    monkeypatch.undo()
    summary = run_replay(settings, OTHER, dry_run=True)
    (line,) = summary["finished"]
    found, wanted = _purchases(settings)
    if exchanged:
        assert "is finished" in line and found == wanted
    else:
        assert "was not swapped" in line and (found, wanted) == before
    clock.advance(10)
    make_worker(settings, clock, OTHER if exchanged else ROLES).assign(range(4))
    assert "finished" not in run_replay(settings, dry_run=True)


def test_events_are_never_swapped(settings: Settings) -> None:
    with pytest.raises(Permanent, match="events cannot be swapped"):
        run_replay(settings, what=("events",), swap=True, name="events")
