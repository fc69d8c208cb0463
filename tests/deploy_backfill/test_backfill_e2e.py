"""`headrace backfill` on real servers: old real data, compressed, twice, with processes and without."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deploy.stack import Stack
from sinks.warehouse import Warehouse
from tests.e2e.doors import Doors, balanced, eventually
from tests.e2e.up import ROOT, clean, headrace
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
    words = [str(tmp_path / "rows.csv"), "--mapping", str(tmp_path / "mapping.yaml")]
    dry, shown = backfill(stack, doors, *words, "--dry-run")
    assert (dry["dry_run"], dry["accepted"]) == (True, expected.orders)
    assert "rows.csv:1: {" in shown
    for sent, more in ((1, []), (1, []), (2, ["--restart"])):
        summary, _ = backfill(stack, doors, *words, *more)
        assert summary["accepted"] == expected.orders
        assert settled(doors, sent * expected.orders)["stored"] == expected.orders
        assert doors.value("revenue", **NINETIES) == float(expected.revenue)
    assert summary["resumed"] == 0
    again, said = backfill(stack, doors, *words)
    assert (again["resumed"], again["events_per_second"]) == (expected.orders, 0)
    assert "earlier runs" in said


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
    assert f"{tmp_path}/some.ndjson:8: unreadable_body" in errors
    assert f"{tmp_path}/some.ndjson:10: invalid_source: source:" in errors
    ledger = eventually(doors.pipeline, lambda got: got["accepted"] == 50 and balanced(got), every=0.2)
    assert ledger["rejected"] == summary["rejected"]
    rows = Warehouse(stack.warehouse_url).query(
        f"SELECT message FROM rejected_events WHERE tenant = '{doors.tenant}' ORDER BY reason"
    )
    assert [row["message"].split(": ")[0] for row in rows] == [f"{tmp_path}/some.ndjson:{n}" for n in (10, 8)]


def test_more_rejected_events_than_allowed_end_it_with_status_3(stack: Stack, doors: Doors, tmp_path: Path) -> None:
    (tmp_path / "bad.ndjson").write_text("{}\n" * 9)
    _, errors = backfill(stack, doors, str(tmp_path / "bad.ndjson"), "--max-errors", "8", code=3)
    assert "9 events were rejected, more than --max-errors 8" in errors
    assert "bad.ndjson:1: missing_field" in errors


def purchases(count: int) -> Iterator[dict[str, Any]]:
    """Purchases of a cent each over some days of 1998; every second one has no id of its own."""
    for n in range(count):
        event = {
            "event_type": "user_purchased",
            "timestamp": 883612800 + n,
            "user_id": f"customer-{n % 997}",
            "source": "backend",
            "properties": {"order_id": str(UUID(int=n)), "order_value": 0.01, "order_category": "x" * 200},
        }
        yield event | ({"event_id": f"own-{n}"} if n % 2 else {})


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress], ids=["plain", "gzip"])
def test_killed_and_run_again_it_goes_on_and_stores_every_event_once(
    pack: Callable[[bytes], bytes], stack: Stack, doors: Doors, tmp_path: Path
) -> None:
    count, path, state = 60_000, tmp_path / "events", tmp_path / "state"
    path.write_bytes(pack(b"".join(json.dumps(event).encode() + b"\n" for event in purchases(count))))
    words = [str(path), "--key", doors.write_key, "--kafka", stack.kafka, "--state", str(state), "--processes", "1"]
    words += ["--data-dir", str(stack.settings.data_dir)]

    def place() -> int:
        (found,) = list(state.glob("*.json")) or [None]
        return 0 if found is None else int(json.loads(found.read_text())["events"])

    def interrupted(before: int) -> int:
        running = subprocess.Popen([sys.executable, "-m", "deploy.cli", "backfill", *words], cwd=ROOT, env=clean())
        eventually(place, lambda events: events > before or running.poll() is not None)
        running.kill()
        running.wait()
        return place()

    resumed = interrupted(interrupted(0))
    assert resumed > 0
    done = headrace("backfill", *words)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["events"], summary["accepted"], summary["resumed"]) == (count, count, resumed)
    ledger = eventually(doors.pipeline, lambda got: got["stored"] == count and balanced(got), every=0.2)
    assert ledger["duplicates"] < count
    assert doors.value("purchases", **NINETIES) == count
    assert doors.value("revenue", **NINETIES) == count / 100


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
