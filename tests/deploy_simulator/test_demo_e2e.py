"""The demo on real servers: every metric equals the oracle over the ground truth, by campaign and range."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deploy.simulator.comparison import Api
from deploy.simulator.profiles import DAY, Plan
from deploy.simulator.session import Session
from deploy.simulator.stage import Clockwork
from deploy.simulator.truth import read_summary
from deploy.stack import Stack, local_settings
from schemas.keys import DEV_SECRET_KEY
from tests.e2e.played import simulated
from tests.oracle.metrics import METRICS, Oracle, Scope

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("demo")]

ROOT = Path(__file__).parents[2]
SMALL = Plan(end=0, days=12, users=150, rate=4.0, rush_days=(1,), anomaly_after=500, anomaly_for=2_000)
LOST = {"events"}
"""The pipeline's own events (predictions, anomalies) are stored as well, so only their sum over all types differs."""


class Played(NamedTuple):
    stack: Stack
    session: Session
    api: Api
    oracle: Oracle


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """A business of twelve days and four live seconds, on a stack of its own."""
    settings = local_settings(data_dir=tmp_path_factory.mktemp("demo"), collector_port=0, api_port=0)
    stack = Stack(settings)
    stack.start()
    try:
        stack.wait_ready(120)
        session, events = simulated(stack, SMALL)
        api = Api(stack.api_url, DEV_SECRET_KEY)
        yield Played(stack, session, api, Oracle(events))
        api.close()
    finally:
        stack.stop()


def ranges(plan: Plan) -> dict[str, tuple[int, int]]:
    """Everything, the first week, and a range that cuts through a minute."""
    return {
        "all": (plan.start - 400 * DAY, plan.end + DAY),
        "a week": (plan.start, plan.start + 7 * DAY),
        "odd": (plan.start + 3 * DAY + 4_567_891, plan.end - 54_321),
    }


def ask(played: Played, metric: str, begin: int, end: int, **filters: Any) -> dict[str, Any]:
    iso = Clockwork().text
    return played.api.get(f"/metrics/{metric}", start=iso(begin), end=iso(end), **filters)


@pytest.mark.parametrize("metric", sorted(METRICS.keys() - LOST))
@pytest.mark.parametrize("span", ["all", "a week", "odd"])
def test_the_metric_equals_the_oracle_to_the_last_digit(played: Played, metric: str, span: str) -> None:
    begin, end = ranges(played.session.plan)[span]
    answer, expected = ask(played, metric, begin, end), played.oracle.answer(metric, Scope(begin, end))
    assert answer["numerator"] == float(expected.numerator)
    assert answer["denominator"] == (None if expected.denominator is None else float(expected.denominator))
    assert expected.matches(answer["value"])


@pytest.mark.parametrize("metric", sorted(METRICS.keys() - {"active_users", "gross_margin", *LOST}))
def test_the_metric_equals_the_oracle_for_every_campaign(played: Played, metric: str) -> None:
    begin, end = ranges(played.session.plan)["odd"]
    compared = 0
    for campaign in played.session.simulation.business.campaigns:
        answer = ask(played, metric, begin, end, campaign_id=campaign.id)
        expected = played.oracle.answer(metric, Scope(begin, end, campaign_id=campaign.id))
        assert expected.matches(answer["value"]), (campaign.kind.title, answer["value"], expected)
        compared += 1
    assert compared == 11


@pytest.mark.parametrize("metric", ["ctr", "impressions", "revenue", "aov", "active_users", "engagement_rate"])
def test_the_metric_equals_the_oracle_for_every_segment(played: Played, metric: str) -> None:
    begin, end = ranges(played.session.plan)["all"]
    for segment in played.session.simulation.business.segments:
        answer = ask(played, metric, begin, end, segment=segment)
        assert played.oracle.answer(metric, Scope(begin, end, segment=segment)).matches(answer["value"])


def test_the_ground_truth_says_what_happened(played: Played) -> None:
    document = read_summary(played.session.folder)
    assert document["history"] == "complete"
    assert document["incident"]["events_lost"] > 100
    assert document["anomalies"][0]["from"] * 1000 == played.session.plan.end + 500
    assert len(document["campaigns"]) == 11
    assert document["runs"][0]["to"] > document["runs"][0]["from"]


def run_demo(folder: Path, *words: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    command = [sys.executable, "-m", "deploy.cli", "demo", "--data-dir", str(folder), "--collector-port", "0"]
    command += ["--api-port", "0", "--days", "6", "--users", "60", "--rate", "2", *words]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_an_interrupted_demo_goes_on_and_compares_right(tmp_path: Path) -> None:
    """Ctrl-C after the page came up; then a run to the end on the same folder; then another one."""
    first = run_demo(tmp_path)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("  stop "):
            break
    time.sleep(0.7)
    first.send_signal(signal.SIGINT)
    output, _ = first.communicate(timeout=120)
    assert first.returncode == 0, output
    for _ in range(2):
        again = run_demo(tmp_path, "--for", "3")
        output, _ = again.communicate(timeout=180)
        assert again.returncode == 0, output
        assert re.search(r"compared +\d+ numbers with the ground truth, 0 differ", output), output
    assert "history is already there" in output
