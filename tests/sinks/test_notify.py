"""The notifier: at most once, across restarts, with slow and failing channels beside good ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from schemas.alerting.channels import Channel
from schemas.alerting.incident import AlertRow, Kind, State
from schemas.clock import ManualClock, SystemClock
from schemas.errors import Permanent, Retryable
from sinks.lane import Target
from sinks.message import Message
from sinks.notification_store import FAILED, PENDING, SENT, UNKNOWN, NotificationStore, Told
from sinks.notify import Notifier, build_targets
from sinks.settings import NotifySettings
from sinks.signing import HEADER, verify
from sinks.warehouse import Warehouse
from tests.sinks.alerts import NOW, alert
from tests.sinks.hook_server import Hook, hook_server

SOON = 5.0


class Recorder:
    """A sender that remembers, after doing what its script says."""

    def __init__(self, *script: Exception | threading.Event, repeatable: bool = True, attempts: int = 3) -> None:
        self.repeatable = repeatable
        self.attempts = attempts
        self.script = list(script)
        self.tries = 0
        self.sent: list[tuple[str, str]] = []
        self.closed = False

    def send(self, message: Message) -> None:
        self.tries += 1
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        if step is not None:
            step.wait(30)
        self.sent.append((message.row.alert_id, message.kind.value))

    def close(self) -> None:
        self.closed = True


class Memory:
    """A store that outlives notifiers; `faults` are raised first. `log` has every record in order."""

    def __init__(self) -> None:
        self.rows: dict[Told, str] = {}
        self.faults: list[Exception] = []
        self.log: list[tuple[Told, str]] = []

    def load(self, days: int) -> dict[Told, str]:
        return dict(self.rows)

    def record(self, key: Told, outcome: str) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.rows[key] = outcome
        self.log.append((key, outcome))


@pytest.fixture
def made() -> Iterator[list[Notifier]]:
    """Notifiers to close at the end."""
    notifiers: list[Notifier] = []
    yield notifiers
    for notifier in notifiers:
        notifier.close(0.0)


def target(sender: Recorder, name: str = "ops", **fields: object) -> Target:
    return Target(name, Channel.model_validate({"type": "console"} | fields), sender)


def start(made: list[Notifier], store: Memory, *targets: Target, **settings: object) -> Notifier:
    notifier = Notifier(targets, store, ManualClock(NOW), 1, NotifySettings.model_validate(settings))
    made.append(notifier)
    return notifier


def key(kind: Kind = Kind.RAISED, channel: str = "ops", name: str = "a1") -> Told:
    return Told("t", name, channel, kind.value)


def test_intent_is_stored_before_and_the_outcome_after_the_message(made: list[Notifier]) -> None:
    store, sender = Memory(), Recorder()
    notifier = start(made, store, target(sender))
    assert notifier.notify(Kind.RAISED, alert()) == 1
    assert notifier.wait_idle(SOON)
    assert store.log == [(key(), PENDING), (key(), SENT)]
    assert sender.sent == [("a1", "raised")]
    assert notifier.outcomes == {("ops", SENT): 1}


def test_the_same_incident_is_told_once_a_channel_and_kind(made: list[Notifier]) -> None:
    store, one, two = Memory(), Recorder(), Recorder()
    notifier = start(made, store, target(one), target(two, "pager"))
    for _ in range(5):
        notifier.notify(Kind.RAISED, alert())
    for _ in range(5):
        notifier.notify(Kind.RESOLVED, alert(state=State.RESOLVED.value))
    notifier.notify(Kind.UPDATED, alert())
    notifier.notify(Kind.ACKNOWLEDGED, alert())
    assert notifier.wait_idle(SOON)
    assert one.sent == two.sent == [("a1", "raised"), ("a1", "resolved")]


def test_at_most_once_also_when_many_threads_tell_it(made: list[Notifier]) -> None:
    sender = Recorder()
    notifier = start(made, Memory(), target(sender))
    threads = [
        threading.Thread(target=lambda: [notifier.notify(Kind.RAISED, alert(f"a{n}")) for n in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notifier.wait_idle(SOON)
    assert len(sender.sent) == len(set(sender.sent)) == 50


def test_channels_hear_only_what_they_want(made: list[Notifier]) -> None:
    every, few, other = Recorder(), Recorder(), Recorder()
    notifier = start(
        made,
        Memory(),
        target(every),
        target(few, "few", min_severity="critical"),
        target(other, "other", rules=["ctr_low"]),
    )
    notifier.notify(Kind.RAISED, alert(severity="warning"))
    notifier.notify(Kind.RAISED, alert("a2"))
    assert notifier.wait_idle(SOON)
    assert (len(every.sent), len(few.sent), len(other.sent)) == (2, 1, 0)


def test_the_end_is_told_only_where_the_start_was(made: list[Notifier]) -> None:
    sender, silent = Recorder(), Recorder()
    notifier = start(made, Memory(), target(sender), target(silent, "silent", resolved=False))
    assert notifier.notify(Kind.RESOLVED, alert()) == 0
    notifier.notify(Kind.RAISED, alert())
    assert notifier.notify(Kind.RESOLVED, alert()) == 1
    assert notifier.wait_idle(SOON)
    assert len(silent.sent) == 1


def test_passing_faults_are_tried_again_up_to_the_limit(made: list[Notifier]) -> None:
    store = Memory()
    good, bad = Recorder(Retryable("a"), Retryable("b")), Recorder(*[Retryable("down")] * 9)
    final = Recorder(Permanent("gone"))
    notifier = start(made, store, target(good), target(bad, "bad"), target(final, "final"))
    notifier.notify(Kind.RAISED, alert())
    assert notifier.wait_idle(SOON)
    assert (good.tries, bad.tries, final.tries) == (3, 3, 1)
    assert store.rows[key()] == SENT
    assert store.rows[key(channel="bad")] == f"{FAILED}: down"
    assert store.rows[key(channel="final")] == f"{FAILED}: gone"


def test_a_crashing_sender_ends_neither_its_channel_nor_shows_its_text(
    made: list[Notifier], caplog: pytest.LogCaptureFixture
) -> None:
    store, sender = Memory(), Recorder(RuntimeError("https://secret"))
    notifier = start(made, store, target(sender))
    notifier.notify(Kind.RAISED, alert())
    notifier.notify(Kind.RAISED, alert("a2"))
    assert notifier.wait_idle(SOON)
    assert sender.sent == [("a2", "raised")]
    assert store.rows[key()] == f"{FAILED}: RuntimeError"
    assert "secret" not in caplog.text


def test_a_slow_channel_holds_up_nobody(made: list[Notifier]) -> None:
    gate = threading.Event()
    slow, quick = Recorder(gate), Recorder()
    notifier = start(made, Memory(), target(slow, "slow"), target(quick))
    began = time.monotonic()
    for n in range(20):
        notifier.notify(Kind.RAISED, alert(f"a{n}"))
    while len(quick.sent) < 20 and time.monotonic() - began < SOON:
        time.sleep(0.005)
    assert len(quick.sent) == 20
    assert slow.sent == []
    assert not notifier.wait_idle(0.01)
    gate.set()
    assert notifier.wait_idle(SOON)


def test_a_full_queue_is_a_named_failure_not_memory(made: list[Notifier]) -> None:
    gate = threading.Event()
    notifier = start(made, Memory(), target(Recorder(gate)), queue=3)
    queued = [notifier.notify(Kind.RAISED, alert(f"a{n}")) for n in range(20)]
    assert sum(queued) in (3, 4)
    gate.set()
    assert notifier.wait_idle(SOON)
    assert notifier.outcomes[("ops", FAILED)] == 20 - sum(queued)


def test_alerts_go_out_while_the_warehouse_is_down_and_outcomes_are_stored_later(
    made: list[Notifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinks.lane.IDLE_SECONDS", 0.02)
    store, sender = Memory(), Recorder()
    store.faults = [Retryable("away")] * 6
    notifier = start(made, store, target(sender))
    notifier.notify(Kind.RAISED, alert())
    assert notifier.wait_idle(SOON)
    assert sender.sent == [("a1", "raised")]
    began = time.monotonic()
    while key() not in store.rows and time.monotonic() - began < SOON:
        time.sleep(0.01)
    assert store.rows == {key(): SENT}


class TestRestart:
    """What a new process does with what the old one left."""

    def test_what_was_told_is_not_told_again(self, made: list[Notifier]) -> None:
        store, sender = Memory(), Recorder()
        store.rows = {key(): SENT}
        notifier = start(made, store, target(sender))
        notifier.recover([alert()])
        notifier.notify(Kind.RAISED, alert())
        assert notifier.notify(Kind.RESOLVED, alert()) == 1
        assert notifier.wait_idle(SOON)
        assert sender.sent == [("a1", "resolved")]

    def test_what_was_only_queued_is_told(self, made: list[Notifier]) -> None:
        sender = Recorder()
        notifier = start(made, Memory(), target(sender))
        notifier.recover([alert(), alert("a2", state=State.ACKNOWLEDGED.value, acknowledged_at=NOW)])
        assert notifier.wait_idle(SOON)
        assert sender.sent == [("a1", "raised")]

    def test_in_doubt_a_place_that_recognises_repetitions_is_told_again(self, made: list[Notifier]) -> None:
        store, sender = Memory(), Recorder()
        store.rows = {key(): PENDING}
        notifier = start(made, store, target(sender))
        notifier.recover([alert()])
        notifier.notify(Kind.RAISED, alert())
        assert notifier.wait_idle(SOON)
        assert sender.sent == [("a1", "raised")]
        assert store.rows[key()] == SENT

    @pytest.mark.parametrize(
        ("repeatable", "kind", "rows"),
        [(False, Kind.RAISED, [alert()]), (True, Kind.RAISED, []), (True, Kind.RESOLVED, [alert()])],
        ids=["a page twice", "no longer open", "an end twice"],
    )
    def test_in_doubt_all_else_is_marked_unknown(
        self, made: list[Notifier], repeatable: bool, kind: Kind, rows: list[AlertRow]
    ) -> None:
        store, sender = Memory(), Recorder(repeatable=repeatable)
        store.rows = {key(): SENT, key(kind): PENDING}
        notifier = start(made, store, target(sender))
        notifier.recover(rows)
        assert notifier.wait_idle(SOON)
        assert sender.sent == []
        assert store.rows[key(kind)].startswith(UNKNOWN)

    def test_a_missed_end_is_told_while_it_is_news(self, made: list[Notifier]) -> None:
        store, sender = Memory(), Recorder()
        store.rows = {key(): SENT, key(name="old"): SENT}
        ended = {"state": State.RESOLVED.value, "resolved_by": "system"}
        notifier = start(made, store, target(sender))
        notifier.recover([alert(resolved_at=NOW - 60, **ended), alert("old", resolved_at=NOW - 7200, **ended)])
        assert notifier.wait_idle(SOON)
        assert sender.sent == [("a1", "resolved")]

    def test_a_stop_in_the_middle_of_tries_leaves_the_message_for_the_next_start(self) -> None:
        store, gate = Memory(), threading.Event()

        class Slow(Recorder):
            def send(self, message: Message) -> None:
                self.tries += 1
                gate.wait(SOON)
                raise Retryable("not yet")

        first = Slow()
        notifier = Notifier([target(first)], store, ManualClock(NOW), 1)
        notifier.notify(Kind.RAISED, alert())
        while not first.tries:
            time.sleep(0.005)
        threading.Timer(0.05, gate.set).start()
        notifier.close(0.0)
        assert store.rows[key()] == PENDING
        assert first.closed
        second = Recorder()
        again = Notifier([target(second)], store, ManualClock(NOW), 1)
        again.recover([alert()])
        assert again.wait_idle(SOON)
        again.close()
        assert second.sent == [("a1", "raised")]


@pytest.mark.integration
class TestForReal:
    """A real warehouse and a real HTTP server."""

    @pytest.fixture
    def hook(self) -> Iterator[Hook]:
        with hook_server() as hook:
            yield hook

    def notifier(self, warehouse: Warehouse, hook: Hook) -> Notifier:
        clock = SystemClock()
        settings = NotifySettings.model_validate({"retry": {"base_seconds": 0.01}})
        channel = Channel.model_validate({"type": "webhook", "url": f"{hook.url}/hook", "signing_secret": "key"})
        targets = build_targets({"ops": channel}, {"key": "s3cret"}, clock, settings)
        return Notifier(targets, NotificationStore(warehouse, clock), clock, 1, settings)

    def test_retries_until_taken_signed_each_time_and_never_again_after_a_restart(
        self, warehouse: Warehouse, hook: Hook
    ) -> None:
        hook.script.extend([500, 503, 429])
        for _ in range(3):
            notifier = self.notifier(warehouse, hook)
            notifier.recover([alert()])
            notifier.notify(Kind.RAISED, alert())
            assert notifier.wait_idle(SOON)
            notifier.close()
        assert len(hook.requests) == 4
        for _, headers, body in hook.requests:
            assert verify(b"s3cret", headers[HEADER], body, time.time())
        assert len({headers["X-Headrace-Delivery"] for _, headers, _ in hook.requests}) == 1
        rows = warehouse.query("SELECT channel, kind, outcome FROM notifications FINAL")
        assert rows == [{"channel": "ops", "kind": "raised", "outcome": "sent"}]

    def test_a_refusal_is_stored_with_its_reason_and_without_the_path(self, warehouse: Warehouse, hook: Hook) -> None:
        hook.script.extend(["redirect"])
        notifier = self.notifier(warehouse, hook)
        notifier.notify(Kind.RAISED, alert())
        assert notifier.wait_idle(SOON)
        notifier.close()
        [row] = warehouse.query("SELECT outcome FROM notifications FINAL")
        assert row["outcome"].startswith("failed: webhook http://127.0.0.1")
        assert "307" in row["outcome"]
        assert "/hook" not in row["outcome"]
        assert len(hook.requests) == 1
