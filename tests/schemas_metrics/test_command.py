"""`headrace metrics list|show`."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from deploy.commands.metrics import metrics_app
from schemas.metrics import shipped_dictionary

run = CliRunner().invoke


def test_list_names_every_metric() -> None:
    result = run(metrics_app, ["list"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines()] == [m.id for m in shipped_dictionary().metrics]


def test_list_and_show_speak_json() -> None:
    assert len(json.loads(run(metrics_app, ["list", "--json"]).output)) == len(shipped_dictionary().metrics)
    assert json.loads(run(metrics_app, ["show", "roas", "--json"]).output)["unit"] == "ratio"


def test_show_explains_one_metric() -> None:
    result = run(metrics_app, ["show", "budget_utilisation"])
    assert result.exit_code == 0 and "spend_to_date" in result.output and "75 % to 105 %" in result.output


def test_unknown_metric_says_what_is_known() -> None:
    result = run(metrics_app, ["show", "rose"])
    assert result.exit_code == 2 and "roas" in result.output
