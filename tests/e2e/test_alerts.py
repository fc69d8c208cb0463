"""From a spike to the person on call: one signed notification, and the life of the alert through the API."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from deploy.kafka_admin import lag
from deploy.parts import CONSUMED, group_of
from deploy.stack import Stack
from sinks.settings import WarehouseSettings
from sinks.warehouse import Warehouse
from tests.conftest import SIGNING_KEY, WATCHED
from tests.e2e.doors import Doors, eventually
from tests.e2e.events import Event, clicked, delivered
from tests.e2e.up import headrace
from tests.sinks.hook_server import Hook

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("stack")]

DAYS = 8
MINUTE = 60
SPIKE = 200


@pytest.fixture(scope="module")
def steady(stack: Stack, open_doors: Callable[[str], Doors], tmp_path_factory: pytest.TempPathFactory) -> Doors:
    """A tenant with eight days of a few clicks a minute behind it, and four minutes ahead: no bucket is half full."""
    doors = open_doors(WATCHED)
    rng, now = random.Random(8), time.time()
    path, count = tmp_path_factory.mktemp("history") / "history.ndjson", 0
    with path.open("w", encoding="utf-8") as file:
        minute = now // MINUTE * MINUTE - DAYS * 86_400
        while minute < now + 4 * MINUTE:
            for maker in (clicked, clicked, delivered, delivered):
                if rng.random() < 0.9:
                    at = minute + rng.random() * MINUTE
                    file.write(json.dumps(maker(f"user-{rng.randrange(300)}", at=at)) + "\n")
                    count += 1
            minute += MINUTE
    began = time.monotonic()
    done = headrace("backfill", str(path), "--key", doors.write_key, "--data-dir", str(stack.settings.data_dir))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accepted"] == count
    _wait_until_known(stack, count)
    print(f"\n{count:,} events of history sent and known to the watcher after {time.monotonic() - began:.1f} s")
    return doors


def _wait_until_known(stack: Stack, count: int) -> None:
    """Wait until the windows hold the history and the watcher has read them."""
    warehouse = Warehouse(WarehouseSettings(url=stack.warehouse_url))
    cells = (
        "SELECT sum(events) AS n FROM windows FINAL WHERE tenant = {tenant:String}"
        " AND event_type IN ('campaign_clicked', 'campaign_delivered')"
    )
    eventually(lambda: warehouse.query(cells, {"tenant": WATCHED})[0]["n"], lambda n: n == count, every=0.5)
    warehouse.close()
    group = group_of(stack.settings, "watch")
    eventually(lambda: sum(lag(stack.kafka, group, CONSUMED["watch"]).values()), lambda behind: behind == 0)
    time.sleep(13)  # the history is at rest, and was looked at three times: what it would raise, it has raised


def messages(hook: Hook, kind: str = "raised") -> list[dict[str, Any]]:
    """What the webhook heard about anomalies."""
    found = [json.loads(body) for _, _, body in list(hook.requests)]
    return [one for one in found if one["kind"] == kind and one["alert"]["rule_id"] == "anomaly"]


def test_history_raises_nothing_and_a_spike_raises_one_signed_alert(steady: Doors, hook: Hook) -> None:
    assert messages(hook) == [], "history is no news"
    assert steady.get("/anomalies")["anomalies"] == []
    spike: list[Event] = [clicked(f"bot-{number % 40}") for number in range(SPIKE)]
    assert steady.send(spike).json()["accepted"] == SPIKE
    began = time.monotonic()
    eventually(lambda: messages(hook), every=0.01)
    print(f"\nalert at the webhook {time.monotonic() - began:.2f} s after the collector's answer")
    time.sleep(5)  # a second one would come at one of the next looks
    (message,) = messages(hook)
    assert message["alert"]["subject"] == "series:clicks"
    assert message["alert"]["severity"] == "critical"
    assert message["alert"]["tenant"] == WATCHED
    evidence = message["alert"]["evidence"]
    assert evidence["details"]["actual"] > SPIKE / 2 > 5 * evidence["expected"]
    for path, headers, body in hook.requests:
        assert path == "/on-call"
        assert _signed(headers, body)
        assert not _signed(headers, body + b" ")


def _signed(headers: dict[str, str], body: bytes) -> bool:
    moment, given = (part.split("=", 1)[1] for part in headers["X-Headrace-Signature"].split(","))
    assert abs(time.time() - int(moment)) < 300
    wanted = hmac.new(SIGNING_KEY.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(given, wanted)


def test_api_and_event_log_know_the_anomaly_and_a_person_can_take_and_close_it(steady: Doors, hook: Hook) -> None:
    (message,) = messages(hook)
    anomaly_id, alert_id = message["alert"]["evidence"]["details"]["anomaly_id"], message["alert"]["alert_id"]
    found = {one["anomaly_id"]: one for one in steady.get("/anomalies")["anomalies"]}
    assert found[anomaly_id]["metric_id"] == "clicks"
    assert (found[anomaly_id]["type"], found[anomaly_id]["severity"]) == ("spike", "critical")
    listed = {one["alert_id"]: one for one in steady.get("/alerts", state="open")["alerts"]}
    assert listed[alert_id]["subject"] == "series:clicks"
    told = {"event_type": "anomaly_detected"}
    eventually(lambda: steady.value("events", **told), lambda n: n is not None and n >= 1)

    path = f"/alerts/{alert_id}"
    assert steady.post(f"{path}/acknowledge", {"by": "ana", "note": "mine"})["changed"]
    taken = eventually(lambda: steady.get(path), lambda alert: alert["state"] == "acknowledged")
    assert taken["acknowledged_by"] == "ana" and taken["acknowledged_at"]
    assert not steady.post(f"{path}/acknowledge")["changed"]
    assert steady.post(f"{path}/resolve", {"by": "ben", "resolution": "false_alarm"})["changed"]
    closed = eventually(lambda: steady.get(path), lambda alert: alert["state"] == "resolved")
    assert closed["resolved_by"] == "ben"
    assert alert_id not in {one["alert_id"] for one in steady.get("/alerts", state="open,acknowledged")["alerts"]}
    eventually(lambda: messages(hook, "resolved"))
    time.sleep(2)
    assert [one["alert"]["alert_id"] for one in messages(hook, "resolved")] == [alert_id]
    assert len(messages(hook)) == 1
    for event_type in ("alert_acknowledged", "alert_resolved"):
        assert steady.value("events", event_type=event_type) == 1
