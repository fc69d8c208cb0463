"""`headrace taxonomy list|show|check|export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deploy.commands.taxonomy import taxonomy_app

HERE = Path(__file__).parent


def run(*arguments: str) -> Result:
    return CliRunner().invoke(taxonomy_app, list(arguments))


def test_list_names_the_shipped_packs() -> None:
    result = run("list")
    assert result.exit_code == 0
    assert "marketing\t1.0.0\t36 events" in result.stdout


def test_show_lists_the_events_of_a_pack() -> None:
    assert "campaign_spend_recorded\tCampaign events\t" in run("show").stdout


def test_show_tells_all_about_one_event() -> None:
    text = run("show", "user_purchased").stdout
    assert "order_value (float; required)" in text
    assert "owner: Backend API" in text
    assert json.loads(text.split("example:\n")[1])["event_type"] == "user_purchased"


def test_show_suggests_the_right_name() -> None:
    result = run("show", "user_purchasd")
    assert result.exit_code == 2
    assert "did you mean 'user_purchased'?" in result.stderr


def test_check_accepts_a_good_pack() -> None:
    result = run("check", str(HERE / "tiny.yaml"))
    assert (result.exit_code, result.stdout) == (0, "ok: pack tiny 1.2.0, 2 events\n")


def test_check_prints_the_fault_and_exits_with_2() -> None:
    path = HERE / "broken" / "unknown_role.yaml"
    result = run("check", str(path))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{path}:42: roles.purchse: is not a known role")


@pytest.mark.parametrize(("form", "start"), [("json-schema", '{\n  "$schema"'), ("typescript", "// Taxonomy tiny")])
def test_export_writes_to_a_file_or_standard_output(tmp_path: Path, form: str, start: str) -> None:
    arguments = ["export", "--pack", str(HERE / "tiny.yaml"), "--format", form]
    out = tmp_path / "out"
    printed = run(*arguments)
    written = run(*arguments, "--out", str(out))
    assert (printed.exit_code, written.exit_code) == (0, 0)
    assert printed.stdout == out.read_text()
    assert printed.stdout.startswith(start)


def test_export_of_an_unknown_pack_says_which_there_are() -> None:
    result = run("export", "--pack", "marketng")
    assert result.exit_code == 2
    assert "did you mean 'marketing'?" in result.stderr


def test_export_to_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    result = run("export", "--out", str(tmp_path / "absent" / "file"))
    assert result.exit_code == 2
    assert "cannot write" in result.stderr
