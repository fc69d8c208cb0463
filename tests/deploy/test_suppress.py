"""`headrace suppress` against a running warehouse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.commands.suppress import suppress_app
from deploy.embedded import warehouse
from deploy.migrations import migrate_tables
from deploy.settings import load
from schemas.clock import SystemClock
from sinks.suppressions import FOREVER


@pytest.mark.integration
def test_a_user_is_added_listed_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = warehouse.start_process(tmp_path / "warehouse")
    try:
        monkeypatch.setenv("HEADRACE_WAREHOUSE_URL", house.url)
        migrate_tables(load(), SystemClock())

        def call(*words: str, status: int = 0) -> str:
            done = CliRunner().invoke(suppress_app, words)
            assert done.exit_code == status, done.output
            return done.output

        (added,) = json.loads(call("add", "O'Hara \\ 7", "--reason", "objected", "--json"))
        assert (added["user_id"], added["reason"], added["until"]) == ("O'Hara \\ 7", "objected", FOREVER)
        assert "on\tobjected" in call("list")
        assert call("list", "--tenant", "other") == ""
        (ended,) = json.loads(call("remove", "O'Hara \\ 7", "--json"))
        assert ended["since"] <= ended["until"] < FOREVER
        assert "this user is not suppressed" in call("remove", "O'Hara \\ 7", status=2)
        assert "name a user" in call("add", "", status=2)
    finally:
        house.stop()


def test_a_warehouse_that_is_away_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_WAREHOUSE_URL", "http://127.0.0.1:9")
    done = CliRunner().invoke(suppress_app, ["list"])
    assert done.exit_code == 1
    assert "127.0.0.1:9" in done.output
