"""The ground truth survives restarts, and its totals are those of the oracle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.simulator.comparison import Line, ledger_lines
from deploy.simulator.http_door import Posted, surprises
from deploy.simulator.truth import Truth, read_sends, read_summary
from schemas.errors import ConfigError
from tests.deploy_simulator.conftest import Played
from tests.oracle.metrics import Oracle


def test_totals_equal_the_oracle_over_the_recorded_events(played: Played, tmp_path: Path) -> None:
    with Truth(tmp_path) as truth:
        truth.record("backfill", played.history)
        truth.record("http", played.live)
        totals = truth.tally.totals
    events = [send["event"] for send in read_sends(tmp_path) if send["fate"] in ("accepted", "late")]
    assert len(events) == truth.tally.stored
    oracle = Oracle(events)
    assert oracle.answer("impressions").value == totals["impressions"]
    assert oracle.answer("purchases").value == totals["purchases"]
    assert oracle.answer("revenue").value * 1_000_000 == totals["revenue_micros"]
    roas = oracle.answer("roas")
    assert roas.numerator * 1_000_000 == totals["campaign_revenue_micros"]
    assert roas.denominator is not None
    assert roas.denominator * 1_000_000 == totals["spend_micros"]
    assert oracle.answer("ctr").numerator == totals["clicks"]


def test_a_second_run_adds_to_the_first(played: Played, tmp_path: Path) -> None:
    with Truth(tmp_path) as truth:
        truth.record("http", played.live[:100])
        truth.save(history="complete")
    with Truth(tmp_path) as again:
        assert again.document["history"] == "complete"
        again.record("http", played.live[100:150])
        assert again.tally.sent == 150
    assert len(list(read_sends(tmp_path))) == 150
    assert len(list(tmp_path.glob("*.zst"))) == 2
    assert sum(read_summary(tmp_path)["tally"]["fates"].values()) == 150


def test_forgetting_starts_from_nothing(played: Played, tmp_path: Path) -> None:
    with Truth(tmp_path) as truth:
        truth.record("http", played.live[:100])
    with Truth(tmp_path) as again:
        again.forget()
        again.record("http", played.live[:7])
    assert len(list(read_sends(tmp_path))) == 7


def test_a_damaged_summary_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "ground_truth.json").write_text("{")
    with pytest.raises(ConfigError, match=r"ground_truth\.json.*--data-dir"):
        read_summary(tmp_path)


def test_the_summary_is_plain_json(played: Played, tmp_path: Path) -> None:
    with Truth(tmp_path) as truth:
        truth.save(**played.simulation.business.summary(played.plan.end))
    document = json.loads((tmp_path / "ground_truth.json").read_text())
    assert document["churners"]
    assert len(document["campaigns"]) == 11


def test_a_right_ledger_compares_equal_and_a_lost_event_does_not(played: Played, tmp_path: Path) -> None:
    with Truth(tmp_path) as truth:
        truth.record("http", played.live)
    tally = truth.tally
    accepted = tally.stored + tally.fates["duplicate"]
    pipeline = {
        "received": tally.sent, "accepted": accepted, "rejected": dict(tally.reasons),
        "duplicates": tally.fates["duplicate"], "stored": tally.stored, "late": tally.fates["late"],
    }  # fmt: skip
    assert all(line.right for line in ledger_lines(pipeline, tally, 0))
    wrong = ledger_lines({**pipeline, "stored": tally.stored - 1}, tally, 0)
    assert [line.what for line in wrong if not line.right] == ["accepted - stored - duplicates", "stored"]
    own = {**pipeline, "received": tally.sent + 3, "accepted": accepted + 3, "stored": tally.stored + 3}
    assert all(line.right for line in ledger_lines(own, tally, 0))
    assert not all(line.right for line in ledger_lines(own, tally, 0, own=False))


def test_no_number_is_never_right() -> None:
    assert not Line("ctr", 1, None).right


def test_a_wrong_verdict_is_put_in_words(played: Played) -> None:
    bad = next(send for send in played.live if send.fate == "malformed")
    good = next(send for send in played.live if send.fate == "accepted")
    verdict = {"index": 1, "reason": bad.reason}
    assert surprises([good, bad], Posted(1, [verdict], 0)) == []
    assert len(surprises([bad, good], Posted(1, [verdict], 0))) == 2
