"""`headrace backfill` on real servers: old real data, compressed, twice, with processes and without."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from deploy.stack import Stack
from tests.e2e.doors import Doors, balanced, eventually
from tests.e2e.up import headrace
from tests.real_data.expected import cdnow_purchases, sparkify_listening
from tests.real_data.mapping import CDNOW, cdnow, require, sparkify, write_ndjson

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]

NINETIES = {"start": "1996-01-01", "end": "2000-01-01"}
IN_2018 = {"start": "2018-01-01", "end": "2019-01-01"}


def backfill(stack: Stack, doors: Doors, *words: str, code: int = 0) -> tuple[dict[str, Any], str]:
    """Run the command with the tenant's write key; gives its summary and what it said on standard error."""
    where = ["--kafka", stack.kafka, "--data-dir", str(stack.settings.data_dir), "--key", doors.write_key]
    done = headrace("backfill", *words, *where)
    assert done.returncode == code, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == (1 if code == 0 else 0), done.stdout
    return (json.loads(lines[0]) if lines else {}), done.stderr


def settled(doors: Doors, accepted: int) -> dict[str, Any]:
    return eventually(doors.pipeline, lambda got: got["accepted"] == accepted and balanced(got), every=0.2)


def test_cdnow_gives_its_figures_to_the_cent_also_when_sent_twice(stack: Stack, doors: Doors, tmp_path: Path) -> None:
    expected = cdnow_purchases()
    path = write_ndjson(cdnow(), tmp_path / "cdnow.ndjson")
    packed = tmp_path / "cdnow.ndjson.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for run, words in enumerate([(str(path),), (str(packed), "--processes", "0")], 1):
        summary, _ = backfill(stack, doors, *words)
        assert (summary["events"], summary["accepted"], summary["rejected"]) == (expected.orders, expected.orders, {})
        assert summary["tenant"] == doors.tenant
        ledger = settled(doors, run * expected.orders)
        assert (ledger["stored"], ledger["late"]) == (expected.orders, 0)
        assert ledger["duplicates"] == (run - 1) * expected.orders
        assert doors.value("purchases", **NINETIES) == expected.orders
        assert doors.value("active_users", **NINETIES) == expected.customers
        assert doors.value("revenue", **NINETIES) == float(expected.revenue)
        average = doors.value("aov", **NINETIES)
        assert average is not None
        assert round(average, 2) == float(expected.average)


def test_cdnow_straight_from_its_columns(stack: Stack, doors: Doors, tmp_path: Path) -> None:
    """The original file with single blanks is a CSV without a header."""
    rows = require(CDNOW).read_text().splitlines()
    (tmp_path / "rows.csv").write_text("".join(" ".join(row.split()) + "\n" for row in rows if row.strip()))
    (tmp_path / "mapping.yaml").write_text(
        """
event_type: user_purchased
timestamp: {column: date, format: "%Y%m%d"}
user_id: {column: sample, prefix: "customer-"}
source: backend
delimiter: " "
columns: [master, sample, date, discs, dollars]
properties:
  order_id: {uuid: [sample, date], row: true}
  order_value: {column: dollars, type: float}
"""
    )
    expected = cdnow_purchases()
    for run in (1, 2):
        summary, _ = backfill(stack, doors, str(tmp_path / "rows.csv"), "--mapping", str(tmp_path / "mapping.yaml"))
        assert summary["accepted"] == expected.orders
        assert settled(doors, run * expected.orders)["stored"] == expected.orders
        assert doors.value("revenue", **NINETIES) == float(expected.revenue)


def test_sparkify_gives_its_counts(stack: Stack, doors: Doors, tmp_path: Path) -> None:
    expected, events = sparkify_listening(), sparkify()
    summary, _ = backfill(stack, doors, str(write_ndjson(events, tmp_path / "sparkify.ndjson")))
    assert summary["accepted"] == len(events)
    settled(doors, len(events))
    assert doors.value("active_users", **IN_2018) == expected.users
    groups = doors.metric("events", group_by="event_type", **IN_2018)["groups"]
    assert {group["group"]: group["value"] for group in groups} == {
        "user_engaged": expected.events,
        "user_signed_up": expected.listeners,
    }


def test_bad_lines_are_named_and_stored_as_rejected_and_cost_no_good_one(
    stack: Stack, doors: Doors, tmp_path: Path
) -> None:
    lines = [json.dumps(event) for event in cdnow()[:50]]
    lines.insert(7, "{broken")
    lines.insert(9, json.dumps({**cdnow()[60], "source": "fax"}))
    (tmp_path / "some.ndjson").write_text("\n".join(lines))
    summary, errors = backfill(stack, doors, str(tmp_path / "some.ndjson"))
    assert summary["rejected"] == {"invalid_source": 1, "unreadable_body": 1}
    assert "event 8 " in errors
    assert "event 10 " in errors
    ledger = eventually(doors.pipeline, lambda got: got["accepted"] == 50 and balanced(got), every=0.2)
    assert ledger["rejected"] == summary["rejected"]


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_file_that_is_not_there_ends_with_status_2(
    stack: Stack, doors: Doors, processes: str, tmp_path: Path
) -> None:
    _, errors = backfill(stack, doors, str(tmp_path / "nowhere"), "--processes", processes, code=2)
    assert "nowhere" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--key", "nonsense"], "--key: This key is not known"),
        (["--tenant", "acme", "--pack", "marketting"], "--pack: is no pack"),
        ([], "--tenant: say whose events"),
    ],
)
def test_events_without_a_known_owner_are_refused(words: list[str], message: str, tmp_path: Path) -> None:
    done = headrace("backfill", str(tmp_path / "any"), "--data-dir", str(tmp_path), *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("processes", ["0", "2"])
def test_without_kafka_it_ends_with_status_1(processes: str, tmp_path: Path) -> None:
    path = write_ndjson(cdnow()[:1], tmp_path / "one.ndjson")
    words = ["--kafka", "127.0.0.1:1", "--tenant", "acme", "--processes", processes]
    done = headrace("backfill", str(path), "--data-dir", str(tmp_path), *words)
    assert done.returncode == 1
    assert "Kafka" in done.stderr
    assert "Traceback" not in done.stderr
