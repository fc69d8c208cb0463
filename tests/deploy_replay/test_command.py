"""`headrace replay` as a user runs it: options that are wrong, the line that it prints, its exit status."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.replay.request import FOREVER, Span, make_span, parse_what
from deploy.replay.shadow import databases
from deploy.settings import Settings, to_environment
from schemas.clock import ManualClock
from schemas.errors import ConfigError
from sinks.warehouse import Warehouse
from tests.deploy_replay.support import make_worker, traffic
from tests.support.workers import run, settle

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("replay")]


def _call(settings: Settings, *words: str) -> tuple[int, dict[str, Any], str]:
    result = CliRunner().invoke(app, ["replay", *words], env=to_environment(settings))
    lines = result.stdout.splitlines()
    return result.exit_code, json.loads(lines[-1]) if lines else {}, result.stderr


def test_the_command_compares_keeps_and_drops(settings: Settings) -> None:
    clock = ManualClock(time.time())
    worker = make_worker(settings, clock)
    run(worker, traffic(120))
    for _ in range(3):
        settle(worker, clock)
    live = Warehouse(settings.warehouse)
    some = ("--what", "windows,user_state")
    status, dry, _ = _call(settings, *some, "--dry-run")
    assert (status, dry["events"], dry["dry_run"]) == (0, 120, True)
    status, summary, told = _call(settings, *some, "--compare", "--into", "kept")
    assert status == 0 and summary["same"] and summary["events_per_second"] > 0, told
    assert len(summary["tables"]["windows"]["hash"]) == 32 and databases(live) == [f"{live.database}__kept"]
    assert _call(settings, *some, "--into", "kept")[0] == 2
    assert _call(settings, "--drop", "kept")[0] == 0 and databases(live) == []
    live.command(
        "INSERT INTO user_state SELECT * REPLACE (events + 1 AS events, version + 1 AS version) FROM user_state"
    )
    status, summary, told = _call(settings, *some, "--compare")
    assert status == 3 and not summary["same"] and "user_state: only live" in told
    assert _call(settings, *some)[0] == 0, "who did not ask for a verdict gets the line alone"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--from", "yesterday"), "--from: write a date or time"),
        (("--from", "2026-02-01", "--to", "2026-01-01"), "--from: lies after --to"),
        (("--what", "windows,rollups"), "'rollups' is none of"),
        (("--source", "kafka", "--from", "2026-01-01", "--what", "models"), "needs the events from before"),
        (("--source", "files"), "write events or kafka"),
        (("--into", "a-b"), "use small letters"),
        (("--drop", "nothing"), "there are no tables of that name"),
        (("--tenant", "one"), "go with --rejected"),
    ],
)
def test_what_is_wrong_is_named(settings: Settings, words: tuple[str, ...], why: str) -> None:
    status, _, told = _call(settings, *words)
    assert status == 2 and why in told


def test_a_span_is_whole_minutes_of_event_time() -> None:
    assert make_span(None, None) == Span(0, FOREVER) and Span().is_whole
    span = make_span("2026-01-01T00:00:30", "2026-01-01T02:00:01+01:00")
    assert (span.start, span.end) == (1_767_225_600, 1_767_225_600 + 3_660) and not span.is_whole
    with pytest.raises(ConfigError, match="rebuild them with --source kafka"):
        parse_what("events", Span(), "events")
    assert parse_what(None, Span(), "kafka") == ("windows", "user_state", "models", "anomalies", "events")
    assert parse_what(None, span, "kafka") == ("windows", "events")


def test_rejected_events_go_the_way_of_dead_letters(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.commands import dead_letters

    asked: list[Any] = []
    monkeypatch.setattr(dead_letters, "replay_selected", lambda selection, **more: asked.append((selection, more)))
    status, _, told = _call(settings, "--rejected", "--tenant", "one", "--from", "2026-01-01")
    assert status == 0, told
    ((selection, more),) = asked
    assert (selection.tenant, selection.start, more["everything"]) == ("one", 1_767_225_600.0, True)
