"""The command line: quick, complete, and clear about mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import COMMANDS, app

HEADRACE = [sys.executable, "-m", "deploy.cli"]


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HEADRACE, *words], capture_output=True, text=True, check=False, env={"PATH": "/bin", **variables}
    )


def test_help_lists_every_command_that_exists_and_imports_none() -> None:
    code = """
import sys
from deploy.cli import main
sys.argv = ["headrace", "--help"]
try:
    main()
except SystemExit:
    print(sorted({name.split(".")[0] for name in sys.modules} & {"faust", "river", "fastapi", "pydantic"}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    folder = Path(__file__).parents[2] / "deploy" / "commands"
    existing = {path.stem.replace("_", "-") for path in folder.glob("*.py")} - {"--init--"}
    assert existing <= set(COMMANDS)
    for name in existing:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name: str) -> None:
    if not (Path(__file__).parents[2] / "deploy" / "commands" / f"{name.replace('-', '_')}.py").exists():
        pytest.skip("not in this version")
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "--help" in result.output


def test_an_unknown_command_is_refused_with_a_guess() -> None:
    result = CliRunner().invoke(app, ["migrat"])
    assert result.exit_code == 2
    assert "did you mean 'migrate'" in result.output


def test_a_bad_setting_ends_with_status_2_and_one_line() -> None:
    done = run("settings", HEADRACE_KAFKA_BOTSTRAP="x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("headrace: HEADRACE_KAFKA_BOTSTRAP: is no setting")
    assert done.stderr.count("\n") == 1


def test_settings_hide_secrets_and_mark_what_differs(tmp_path: Path) -> None:
    done = run(
        "settings",
        "--changed",
        HEADRACE_WAREHOUSE_PASSWORD="hunter2",
        HEADRACE_WORKERS="3",
        HEADRACE_DATA_DIR=str(tmp_path),
    )
    assert "hunter2" not in done.stdout
    assert "* HEADRACE_WORKERS=3 (default 1)" in done.stdout
    assert "* HEADRACE_WAREHOUSE_PASSWORD=********" in done.stdout
    assert "HEADRACE_KAFKA" not in done.stdout


def test_docs_check_and_write_exclude_each_other() -> None:
    assert CliRunner().invoke(app, ["docs", "--check", "--write"]).exit_code == 2


def test_an_unknown_benchmark_is_named() -> None:
    done = run("bench", "nothing")
    assert done.returncode == 1
    assert "there is no benchmark 'nothing'" in done.stderr
